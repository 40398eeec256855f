"""The families of networks, found by listing this folder.

A family is a file here with `VARIANTS = {"NAME": Variant("NAME", …), …}` and `FAMILY = Family(…)`
at its top level. Variants' names are read without running the file, so that they can be listed
without waiting for torch.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import pkgutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mobilemod import networks
from mobilemod.errors import UserError, unknown
from mobilemod.networks.family import Family, Variant, check_size

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mobilemod.data.preprocess import Preprocess


def variants() -> dict[str, str]:
    """The name of every known variant -> the module of its family.

    Of a family that is loaded they are those in its `VARIANTS` at present. Raises ValueError where
    two families have a variant of the same name.
    """
    found: dict[str, str] = {}
    for info in pkgutil.iter_modules(networks.__path__):
        module = f"{networks.__name__}.{info.name}"
        names = _names_in(Path(info.module_finder.path, f"{info.name}.py"))
        if names and module in sys.modules:
            names = tuple(sys.modules[module].VARIANTS)
        for name in names:
            if name in found:
                raise ValueError(f"variant {name!r} is both in {found[name]} and in {module}")
            found[name] = module
    return found


@functools.cache
def _names_in(path: Path) -> tuple[str, ...]:
    """The keys of `VARIANTS` in a file, () where it is no family's."""
    source = path.read_bytes() if path.is_file() else b""
    for node in ast.parse(source).body if b"\nVARIANTS" in source else ():
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names = [t.id for t in targets if isinstance(t, ast.Name)]
        if names == ["VARIANTS"] and isinstance(node.value, ast.Dict):
            return tuple(ast.literal_eval(key) for key in node.value.keys)
    return ()


def module_of(of: str | Variant | nn.Module) -> str:
    """The module of a family: by a variant's name, of a variant, or of a network.

    What a cache is keyed by beside the code that imports it by name. `UserError` for an unknown
    name lists the known ones.
    """
    if not isinstance(of, str):
        return type(of).__module__
    known = variants()
    if of not in known:
        raise unknown("model", of, known)
    return known[of]


def load_family(module: str) -> Family:
    """The record of the family in `module`; TypeError where there is none."""
    family = getattr(importlib.import_module(module), "FAMILY", None)
    if not isinstance(family, Family):
        raise TypeError(f"{module} has no FAMILY; {__name__} says what a family's file holds")
    return family


def family_of(of: str | Variant | nn.Module) -> Family:
    """The family of a variant or of a network; raises as `module_of` and `load_family`."""
    return load_family(module_of(of))


def preprocess_of(of: str | Variant | nn.Module, size: int | None = None) -> Preprocess:
    """How images are prepared for a family's networks; size: in pixels, None for its own.

    `UserError` for a size that a network can't take.
    """
    family = family_of(of)
    found = family.preprocess
    variant = getattr(of, "variant", of)  # a name has none
    own = getattr(variant, "size", None)
    if size is not None or own:
        found = dataclasses.replace(found, size=own if size is None else size)
        check_size(found.size, family.step)
    if own:
        require_size(variant, found.size, f"the weights of {variant.name}")
    return found


def at_size(variant: Variant, size: int | None) -> Variant:
    """`variant` for images of `size` pixels; itself where any will do, and for None."""
    return dataclasses.replace(variant, size=size) if size and hasattr(variant, "size") else variant


def require_size(variant: Variant, size: int, what: str) -> None:
    """`UserError` where `variant` is for images of another size; what: that the line is about."""
    own = getattr(variant, "size", size)
    if own != size:
        raise UserError(
            f"{what} are for images of {own} x {own} pixels, not {size} x {size}: ask for size "
            f"{own}, or give a checkpoint that was trained at {size}"
        )


def get_variant(name: str) -> Variant:
    """The variant of that name; the `UserError` otherwise names the known ones."""
    return importlib.import_module(module_of(name)).VARIANTS[name]


def build(variant: str | Variant, num_classes: int, drop_path: float = 0.0) -> nn.Module:
    """A network with random start values, float32, in training mode.

    drop_path: the largest rate of stochastic depth.
    """
    shape = get_variant(variant) if isinstance(variant, str) else variant
    return family_of(shape).build(shape, num_classes, drop_path)


def network(variant: str | Variant, num_classes: int, state: Mapping[str, Tensor]) -> nn.Module:
    """The network of published weights, in eval mode.

    It is for the size of images that the weights are for, where that matters.

    RuntimeError names what is missing or unexpected in `state`; for what a user gives there is
    `mobilemod.networks.checkpoints.load_checkpoint`.
    """
    shape = get_variant(variant) if isinstance(variant, str) else variant
    family = family_of(shape)
    model = build(at_size(shape, family.size_of(state)), num_classes)
    model.load_state_dict(state, strict=True)
    return model.eval()
