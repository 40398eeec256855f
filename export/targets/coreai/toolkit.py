"""Apple's packages, which not every environment has."""

from __future__ import annotations

import importlib
import importlib.util
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


def words(error: Exception) -> str:
    """What a tool's error says, as a part of one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
