"""Android's platform API as declared for TypeScript: names, arity and API levels."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

CLASS = re.compile(
    r"^\s*export (?:abstract )?class (\w+)(?:<.*>)?\s*(?:extends (.+?))?(?: implements (.+?))?\s*\{$"
)
MODULE = re.compile(r"^\s*(?:export|declare) module ([\w.]+) \{$")
MEMBER = re.compile(r"^\s*public (static )?(?:abstract )?(\w+)(?:<.*?>)?(\(|:)(.*)$")
SINCE = re.compile(r"@since (\d+)")


@dataclass
class Type:
    """A class or interface; members by name: (arity or None for a field, variable arity, level)."""

    level: int = 0
    is_interface: bool = False
    parents: list[str] = field(default_factory=list)
    methods: dict[str, list[tuple[int, bool, int]]] = field(default_factory=dict)
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


def bare(name: str) -> str:
    """A type without its arguments."""
    return name.split("<")[0].strip()


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
        elif found := CLASS.match(line):
            parents = [found[2] or "", *split_arguments(found[3] or "")]
            full = f"{name}.{found[1]}"
            types[full] = Type(level, parents=[bare(p) for p in parents if p.strip()])
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
        owner.fields[name] = level
        return
    arguments = split_arguments(found[4])
    variable = bool(arguments) and "..." in arguments[-1]
    owner.methods.setdefault(name, []).append((len(arguments), variable, level))
