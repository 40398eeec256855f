"""What the compiled app names of the platform and of AndroidX, checked against declarations.

Independent of the stubs that the app was compiled against: names, arity and API levels come from
the TypeScript declarations of the platform, AndroidX's names and arity from those for Python.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

from .classfile import Compiled, Method, Reference, read
from .typescript import Type, internal

SDK_INT = ("android/os/Build$VERSION", "SDK_INT")


def arity(descriptor: str) -> int:
    """Number of a method descriptor's parameters."""
    count, at = 0, 1
    while descriptor[at] != ")":
        while descriptor[at] == "[":
            at += 1
        at = descriptor.index(";", at) + 1 if descriptor[at] == "L" else at + 1
        count += 1
    return count


def load_classes(folder: Path) -> list[Compiled]:
    """Every class file below a folder."""
    return [read(path.read_bytes()) for path in sorted(folder.rglob("*.class"))]


def read_python(folder: Path) -> dict[str, Type]:
    """AndroidX's classes by dotted name; of levels nothing is known."""
    types: dict[str, Type] = {}

    def add(node: ast.ClassDef, package: str, name: str) -> None:
        parents = [ast.unparse(base).split("[")[0] for base in node.bases]
        qualified = [
            p if p.startswith(("android", "java", "typing")) else f"{package}.{p}" for p in parents
        ]
        type_ = types[name] = Type(parents=[p for p in qualified if not p.startswith("typing")])
        for item in node.body:
            if isinstance(item, ast.ClassDef):
                add(item, package, f"{name}.{item.name}")
            elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                type_.fields[item.target.id] = 0
            elif isinstance(item, ast.FunctionDef):
                given = [*item.args.posonlyargs, *item.args.args]
                bound = not any(ast.unparse(d) == "staticmethod" for d in item.decorator_list)
                count = len(given) - bound + (item.args.vararg is not None)
                own = "<init>" if item.name == "__init__" else item.name
                type_.methods.setdefault(own, []).append((count, 0))

    for path in sorted((folder / "androidx-stubs").rglob("__init__.pyi")):
        parts = path.parent.relative_to(folder / "androidx-stubs").parts
        package = ".".join(("androidx", *parts))
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                add(node, package, f"{package}.{node.name}")
    return types


class Declarations:
    """Looks members up along the parents of a class."""

    def __init__(self, types: Mapping[str, Type]) -> None:
        self.types = {internal(name): type_ for name, type_ in types.items()}

    def level(self, name: str) -> int | None:
        """The level that a class came with, None for an unknown class."""
        return self.types[name].level if name in self.types else None

    def member_level(self, reference: Reference) -> int | None:
        """The lowest level at which the member can be named so; None where there is none."""
        levels = []
        for type_ in self._line(reference.owner):
            if not reference.is_method:
                if reference.name in type_.fields:
                    levels.append(type_.fields[reference.name])
                continue
            count = arity(reference.descriptor)
            levels += [at for n, at in type_.methods.get(reference.name, ()) if n == count]
            if reference.name == "<init>":
                # A constructor isn't inherited, and the one without parameters may go unsaid.
                if not type_.methods.get("<init>") and count == 0:
                    levels.append(0)
                break
        return max(min(levels), self.types[reference.owner].level) if levels else None

    def _line(self, name: str) -> Iterable[Type]:
        left, seen = [name, "java/lang/Object"], set()
        while left:
            one = left.pop(0)
            if one in seen or one not in self.types:
                continue
            seen.add(one)
            yield self.types[one]
            left[:0] = [internal(parent) for parent in self.types[one].parents]


def platform_problems(classes: list[Compiled], declared: Declarations, least: int) -> list[str]:
    """References to what the platform doesn't have at level `least` and that nothing guards."""
    own_levels = {
        (c.name, m.name): max(c.requires_api, m.requires_api) for c in classes for m in c.methods
    }
    found = []
    for compiled in classes:
        for method in compiled.methods:
            where = f"{compiled.name.rsplit('/', 1)[-1]}.{method.name}"
            annotated = max(compiled.requires_api, method.requires_api)
            allowed = max(least, annotated)
            for reference in method.references:
                problem = _problem(reference, declared, allowed, own_levels, method, least)
                if problem:
                    found.append(f"{where}: {problem}")
            for name in sorted(method.classes):
                name = name.lstrip("[L").rstrip(";")
                if name.startswith(("android/", "java/")):
                    level = declared.level(name)
                    if level is None or level > allowed:
                        found.append(f"{where}: class {name} {_since(level)}")
    return found


def _problem(
    reference: Reference, declared: Declarations, allowed: int,
    own_levels: Mapping[tuple[str, str], int], method: Method, least: int,
) -> str | None:  # fmt: skip
    name = f"{reference.owner}.{reference.name}"
    own = own_levels.get((reference.owner, reference.name), 0)
    if own > allowed and not _asks_level(method):
        return f"{name} needs API {own}, and SDK_INT isn't asked for"
    if not reference.owner.startswith(("android/", "java/")):
        return None
    level = declared.member_level(reference)
    if level is None:
        count = f" with {arity(reference.descriptor)} parameters" if reference.is_method else ""
        return f"{name}{count} {_since(None)}"
    return None if level <= allowed else f"{name} {_since(level)}, the app runs from {least}"


def _asks_level(method: Method) -> bool:
    return any((r.owner, r.name) == SDK_INT for r in method.references)


def _since(level: int | None) -> str:
    return "isn't declared" if level is None else f"came with API {level}"


def library_problems(
    classes: list[Compiled], declared: Declarations, packages: tuple[str, ...]
) -> tuple[list[str], int]:
    """References into `packages` that aren't declared, and how many there were."""
    found, count = [], 0
    for compiled in classes:
        for method in compiled.methods:
            for reference in method.references:
                if not reference.owner.startswith(packages):
                    continue
                count += 1
                if declared.member_level(reference) is None:
                    name = f"{reference.owner}.{reference.name}"
                    found.append(f"{compiled.name}.{method.name}: {name} isn't declared")
    return found, count
