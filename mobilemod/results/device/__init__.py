"""Tables and the page of measurements on devices. Takes records as dictionaries, and the shared
parts of results.
"""
