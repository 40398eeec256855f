"""Apple's packages, which not every environment has, and a loop for what they only do in one."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from collections.abc import Coroutine
from typing import Any

from export.quiet import quiet
from mobilemod.errors import UserError
from mobilemod.targets.coreai import FACTS


def package(name: str) -> Any:
    """A module of coreai-core or coreai-torch; `UserError` where it isn't installed."""
    if any(importlib.util.find_spec(p) is None for p in FACTS.packages):
        raise UserError(
            f"{FACTS.suffix} files need coreai-core and coreai-torch; '{FACTS.installed_by}' "
            "installs them"
        )
    with quiet():
        return importlib.import_module(name)


class Loop:
    """An event loop of one's own, for calls that are asynchronous and not meant to be here."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def __call__(self, call: Coroutine[Any, Any, Any]) -> Any:
        """What `call` gives."""
        return self.loop.run_until_complete(call)
