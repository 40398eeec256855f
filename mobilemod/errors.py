"""The one error type for what a user can mend."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

NOT_EVERYWHERE = "docs/install.md lists what each machine can do"


class UserError(Exception):
    """Bad input or environment: one line that names what is wrong, where, and the fix.

    The command line prints it without a traceback and exits with code 2. Names that it quotes from
    files can hold anything: they are written as `shown` does.
    """

    def __str__(self) -> str:
        return shown(super().__str__())


def shown(name: object) -> str:
    """A file's name or path as any page, record and terminal can hold it.

    Bytes that are no UTF-8, control characters, line ends and marks that turn the direction of text
    are written as Python escapes them; every other name stays as it is.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in str(name))


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def os_error(error: OSError) -> str:
    """An error of the system in words."""
    where = f" at {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"no space left on the disk{where}; free some, or give another --out"
    return f"{error.strerror or error}{where}"


def unknown(what: str, given: str, known: Iterable[str], more: str = "") -> UserError:
    """The error for a name that isn't among `known`: lists them, and says which may be meant.

    what: the kind of thing, such as "model". more: what else would do, such as ", or a JSON file".
    """
    names = list(known)
    return UserError(
        f"unknown {what} {given!r}; known: {', '.join(names)}{more}{meant(given, names)}"
    )


def meant(given: str, known: Iterable[str]) -> str:
    """ "; did you mean 'NAME'?", or "" where no name is near."""
    near = difflib.get_close_matches(given, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""
