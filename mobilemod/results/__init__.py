"""Records as tables and pages: a folder each, and at the top what they share. Takes records as
dictionaries; nothing here measures.
"""
