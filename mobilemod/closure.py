"""A digest of the code that makes a thing: the modules of this repository that it can import."""

from __future__ import annotations

import ast
import functools
import hashlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Where the kit is installed, others' packages lie beside these.
PACKAGES = ("mobilemod", "quantization", "export")


@functools.cache
def import_closure(*modules: str, root: Path = ROOT) -> tuple[str, ...]:
    """Paths below `root` of these modules and of all that they import, sorted.

    Other packages than the kit's and those of `modules` are left out. Imports inside functions
    count, those under `if TYPE_CHECKING` don't; a package that lists its own `__path__` imports
    every module in it. What else is imported by a computed name has to be given.
    `FileNotFoundError` where a given module isn't there.
    """
    own = {*PACKAGES, *(name.partition(".")[0] for name in modules)}
    found: set[str] = set()
    todo = list(modules)
    for name in modules:
        if _file(root, name) is None:
            raise FileNotFoundError(f"{root}: no module {name}")
    while todo:
        name = todo.pop()
        path = _file(root, name) if name.partition(".")[0] in own else None
        if path is None or path in found:
            continue
        found.add(path)
        parent = name.rpartition(".")[0]
        names, lists_itself = _parsed(root / path)
        todo += [n for n in (parent, *names) if n]
        if lists_itself:
            todo += [f"{name}.{m.name}" for m in pkgutil.iter_modules([str((root / path).parent)])]
    return tuple(sorted(found))


@functools.cache
def code_digest(*modules: str) -> str:
    """sha256 over the names and contents of `import_closure`, for keys of caches."""
    h = hashlib.sha256()
    for path in import_closure(*modules):
        h.update(path.encode() + b"\0" + hashlib.sha256((ROOT / path).read_bytes()).digest())
    return h.hexdigest()


def _file(root: Path, name: str) -> str | None:
    """The file of a module, None where it is no module of this repository."""
    path = name.replace(".", "/")
    return next((p for p in (f"{path}.py", f"{path}/__init__.py") if (root / p).is_file()), None)


@functools.cache
def _parsed(path: Path) -> tuple[tuple[str, ...], bool]:
    """What a file imports, and whether it is a package that imports what is in its own folder."""
    tree = ast.parse(path.read_bytes())
    own = (isinstance(node, ast.Name) and node.id == "__path__" for node in ast.walk(tree))
    return tuple(_names(tree)), path.name == "__init__.py" and any(own)


def _names(tree: ast.AST) -> Iterator[str]:
    """Names that may be modules; of `from a import b` both a and a.b."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from _names(node)
