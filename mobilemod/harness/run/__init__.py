"""Runs jobs: builds them, hands them to drivers or browsers, and makes records of what comes back.
The only room of the harness that the verbs import.
"""
