"""Android's platform API as declared for TypeScript: names, arity and API levels."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

CLASS = re.compile(
    r"^\s*export (?:abstract )?class (\w+)\s*(?:extends (.+?))?(?: implements (.+?))?\s*\{$"
)
MODULE = re.compile(r"^\s*(?:export|declare) module ([\w.]+) \{$")
MEMBER = re.compile(r"^\s*public (static )?(?:abstract )?(\w+)(?:<.*?>)?(\(|:)(.*)$")
CONSTANT = re.compile(r"\s*(-?\d|\"|true|false)")
SINCE = re.compile(r"@since (\d+)")


@dataclass
class Type:
    """A class or interface. methods: by name (arity, level); fields: by name the level, 0 for those
    that the compiler puts in as a constant; level 0: as old as the declarations reach back."""

    level: int = 0
    is_interface: bool = False
    parents: list[str] = field(default_factory=list)
    methods: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    fields: dict[str, int] = field(default_factory=dict)


def split_arguments(text: str) -> list[str]:
    """Parts of `text` at its outer commas, up to its closing parenthesis."""
    parts, depth, current = [], 0, ""
    for c in text:
        if c in "([{<":
            depth += 1
        elif c in ")]}" or (c == ">" and not current.endswith("=")):
            if depth == 0:
                break
            depth -= 1
        if c == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += c
    return [part for part in [*parts, current] if part.strip()]


def bare(text: str) -> str:
    """A declaration without type arguments, nested ones included."""
    kept, depth = "", 0
    for c in text:
        depth += c == "<"
        kept += c if depth == 0 else ""
        depth -= c == ">"
    return kept


def read(path: Path) -> dict[str, Type]:
    """Types by dotted name (`android.view.View.OnClickListener`)."""
    types: dict[str, Type] = {}
    scopes: list[tuple[str, bool]] = []
    level, implementation = 0, 0
    for line in path.read_text("utf-8").splitlines():
        text = line.strip()
        if implementation:
            # Inside a constructor's object of callbacks, which says that the class is an interface.
            implementation += text.count("{") - text.count("}")
            continue
        if found := SINCE.search(text):
            level = int(found[1])
        if text.startswith(("/**", "*", "///")):
            continue
        name = ".".join(scope for scope, _ in scopes)
        if found := MODULE.match(line):
            scopes.append((found[1], False))
        elif found := CLASS.match(bare(line)):
            parents = [found[2] or "", *(found[3] or "").split(",")]
            full = f"{name}.{found[1]}"
            types[full] = Type(level, parents=[p.strip() for p in parents if p.strip()])
            scopes.append((found[1], True))
        elif text == "}" and scopes:
            scopes.pop()
        elif scopes and scopes[-1][1] and (found := MEMBER.match(line)):
            _add(types[name], found, level)
            if found[2] == "constructor" and text.endswith("{"):
                types[name].is_interface = True
                implementation = 1
        level = 0
    return types


def _add(owner: Type, found: re.Match[str], level: int) -> None:
    name = "<init>" if found[2] == "constructor" else found[2]
    if found[3] == ":":
        owner.fields[name] = 0 if CONSTANT.match(found[4]) else level
    else:
        owner.methods.setdefault(name, []).append((len(split_arguments(found[4])), level))


def internal(name: str) -> str:
    """`android/view/View$OnClickListener` of `android.view.View.OnClickListener`."""
    parts = name.split(".")
    first = next((i for i, part in enumerate(parts) if part[:1].isupper()), len(parts) - 1)
    return "/".join([*parts[:first], "$".join(parts[first:])])
