"""What the Python API gives: frozen dataclasses that records are made of, each with `to_dict` or
the record itself.
"""
