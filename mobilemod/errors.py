"""The one error type for what a user can mend."""

from __future__ import annotations


class UserError(Exception):
    """Bad input or environment: one line that names what is wrong, where, and the fix.

    The command line prints it without a traceback and exits with code 2.
    """
