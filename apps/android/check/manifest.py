"""The manifest that the Android plugin would package, as far as this app needs its merger.

Libraries' elements come in by tag and `android:name`; `tools:node="remove"` keeps one out, as
https://developer.android.com/build/manage-manifests says.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

ANDROID = "{http://schemas.android.com/apk/res/android}"
TOOLS = "{http://schemas.android.com/tools}"
NAME, NODE = f"{ANDROID}name", f"{TOOLS}node"
# uses-sdk is the build's, not the file's.
NOT_MERGED = ("uses-sdk", "application")


def merge(app: Path, libraries: Sequence[Path], package: str) -> ElementTree.ElementTree:
    """The app's manifest with what its libraries bring, for a profileable build of `package`."""
    text = app.read_text("utf-8").replace("${applicationId}", package)
    root = ElementTree.fromstring(text)
    root.set("package", package)
    application = root.find("application")
    for library in libraries:
        other = ElementTree.parse(library).getroot()
        _add(root, other)
        _add(application, other.find("application"))
    for parent in (root, application):
        for element in [e for e in parent if e.get(NODE) == "remove"]:
            parent.remove(element)
    ElementTree.SubElement(application, "profileable", {f"{ANDROID}shell": "true"})
    return ElementTree.ElementTree(root)


def _add(to: ElementTree.Element, other: ElementTree.Element) -> None:
    known = {(e.tag, e.get(NAME)) for e in to}
    to.extend(e for e in other if e.tag not in NOT_MERGED and (e.tag, e.get(NAME)) not in known)


def write(tree: ElementTree.ElementTree, path: Path) -> None:
    """Write a manifest with the prefix that the platform's tools expect."""
    ElementTree.register_namespace("android", ANDROID[1:-1])
    tree.write(path, "utf-8", xml_declaration=True)


def named(tree: ElementTree.ElementTree, tag: str) -> list[str]:
    """`android:name` of every element `tag`."""
    return [e.get(NAME, "") for e in tree.getroot().iter(tag)]


def components(path: Path) -> list[str]:
    """Full class names of a merged manifest's own activities."""
    tree = ElementTree.parse(path)
    package = tree.getroot().get("package", "")
    return [name if name[0] != "." else package + name for name in named(tree, "activity")]
