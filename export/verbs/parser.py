"""The command line's parser: what can't be parsed is one line that says what may be meant."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from mobilemod.errors import meant


class Parser(argparse.ArgumentParser):
    """As argparse's, but an error is one line, without the usage, and near names are suggested."""

    def __init__(self, **settings) -> None:
        # An option cut short would change its meaning with the next version's options.
        super().__init__(allow_abbrev=False, **settings)

    def parse_known_args(self, args=None, namespace=None):
        """As argparse's, but a verb itself refuses what it doesn't know, since it knows its own."""
        namespace, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return namespace, rest

    def error(self, message: str) -> NoReturn:
        """Print `message` as one line to stderr and exit with 2."""
        line = f"{self._plain(message)} ('{self.prog} --help' lists all)"
        self.exit(2, f"mobilemod: error: {line}\n")

    def _plain(self, message: str) -> str:
        message = " ".join(message.removeprefix("argument ").split())
        choice = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if choice:
            known = [part.strip("' ") for part in choice[2].split(",")]
            what, _, _ = message.partition(":")
            near = meant(choice[1], known)
            return f"{what}: unknown {choice[1]!r}; known: {', '.join(known)}{near}"
        given = re.search(r"unrecognized arguments: (-\S+)", message)
        if given:
            options = [o for a in self._actions for o in a.option_strings]
            return f"{message}{meant(given[1].partition('=')[0], options)}"
        return message
