"""Views that layouts name: platform classes by their short name, others by their full one."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from .references import Declarations

PREFIXES = ("android/widget/", "android/view/", "android/webkit/")
NOT_VIEWS = {"merge", "include", "requestFocus", "tag"}


def layout_problems(resources: Path, declared: Declarations, own: set[str]) -> list[str]:
    """Elements of layouts that name no view of the platform, the app or a library's stubs."""
    found = []
    for path in sorted(resources.glob("layout*/*.xml")):
        for element in ElementTree.parse(path).iter():
            name = element.tag
            if name in NOT_VIEWS:
                continue
            known = (
                name.replace(".", "/") in own
                if "." in name
                else any(declared.level(prefix + name) is not None for prefix in PREFIXES)
            )
            if not known:
                found.append(f"{path.parent.name}/{path.name}: no view is called {name}")
    return found
