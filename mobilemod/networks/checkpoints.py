"""Checkpoints: the authors' training files, plain state dicts, our own safetensors.

Read from top to bottom: loading, saving, `create_model`. The formats are in
`reading.files`, the sets of weights in a file in `reading.sets`, names and shapes in
`reading.fit`.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from mobilemod.errors import UserError
from mobilemod.files import atomic_path, file_sha256
from mobilemod.networks.reading.files import read_checkpoint
from mobilemod.networks.reading.fit import (
    beginnings,
    check_dense,
    check_fit,
    expected_shapes,
    identify,
    lacking,
    number_of_classes,
    parameter_names,
    resemblance,
)
from mobilemod.networks.reading.sets import (
    WeightSet,
    find_sets,
    listed,
    require_sets,
    unnamed_averages,
)
from mobilemod.networks.registry import (
    at_size,
    build,
    family_of,
    get_variant,
    load_family,
    module_of,
    network,
    preprocess_of,
    require_size,
    variants,
)

__all__ = [
    "LoadedCheckpoint", "Taken", "bundled_checkpoint", "create_model", "expected_shapes",
    "identify", "load_checkpoint", "save_checkpoint",
]  # fmt: skip


def bundled_checkpoint(variant: str) -> Path | None:
    """The checkpoint that comes with the project for `variant`, or None."""
    bundled = family_of(variant).bundled.get(variant)
    if bundled is None:
        return None
    path = Path(str(resources.files("mobilemod").joinpath("assets", bundled.file)))
    return path if path.is_file() else None


@dataclass(frozen=True)
class Taken:
    """Which weights of a file were taken, for people.

    weights: the set and its kind. others: the sets that were there too. ignored: names that are no
    weights of the network (tools' counters, what stands beside the network).
    """

    weights: str = ""
    others: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [self.weights]
        if self.others:
            parts.append(f"also there: {', '.join(self.others)}")
        if self.ignored:
            parts.append(f"ignored: {listed(self.ignored)}")
        return "; ".join(filter(None, parts))


@dataclass(frozen=True)
class LoadedCheckpoint:
    """Weights that fit `variant` strictly.

    `state`: every parameter, float32, under the published names. `sha256`: of the file, hex.
    `metadata`: the header of a safetensors file; for a PyTorch file `weights`, the key under which
    the weights stood ("" for a plain state dict).
    """

    state: dict[str, Tensor]
    variant: str
    num_classes: int
    sha256: str
    metadata: dict[str, str]
    taken: Taken = Taken()


def load_checkpoint(
    path: str | Path, variant_name: str | None = None, num_classes: int | None = None
) -> LoadedCheckpoint:
    """Read `path` and check it against `variant_name`, name by name and shape by shape.

    Of several sets of weights the first that is complete is taken: the one under the family's
    `published_key`, then moving averages (EMA) before plain ones, as most published accuracy was
    measured with them, each group in the order of `WEIGHT_KEYS`. Without `variant_name` it is the
    one the file says or looks like; without `num_classes` the number of the head's rows. Raises
    `UserError` for a file that can't be read, would run code, doesn't fit, or holds a value that
    isn't finite in float32.
    """
    path = Path(path)
    known = variants()
    if variant_name is not None:
        module_of(variant_name)
    content, metadata = read_checkpoint(path)
    modules = sorted(set(known.values()))
    if variant_name is None:
        said = (metadata or {}).get("model")
        variant_name = said if said in known else _looks_like(content, modules)
    if variant_name is not None:
        modules = [module_of(variant_name)]
    sets = require_sets(path, content, map(beginnings, modules))
    variant = None if variant_name is None else get_variant(variant_name)
    if variant is not None:
        family = family_of(variant)
        sets = [dataclasses.replace(s, tensors=family.adapt(s.tensors)) for s in sets]
        if family.published_key:
            sets.sort(key=lambda s: s.key != family.published_key)
    missing = [0 if variant is None else lacking(s.tensors, variant, num_classes) for s in sets]
    chosen, taken = choose(content, sets, missing)
    module = None if variant is None else module_of(variant)
    check_dense(path, chosen.tensors, parameter_names(module))
    if variant is None:
        first = next(iter(chosen.tensors), "")
        raise UserError(
            f"{path} looks like none of the known variants ({', '.join(known)}): "
            f"{len(chosen.tensors)} tensors, the first {first!r}; give a checkpoint of "
            f"{' or '.join(load_family(m).title for m in modules)}"
        )
    classes = number_of_classes(chosen.tensors, variant, num_classes)
    check_fit(path, chosen.tensors, variant, classes)
    state = {name: float32(path, name, t) for name, t in chosen.tensors.items()}
    if metadata is None:
        metadata = {"weights": chosen.key}
    return LoadedCheckpoint(
        state,
        variant.name,
        classes,
        file_sha256(path),
        metadata,
        taken,
    )


def _looks_like(content: Mapping[Any, Any], modules: list[str]) -> str | None:
    """The variant that the weights are most like, each family's names looked for on their own:
    those of one network may be a part of another's."""
    best, name = 0.0, None
    for module in modules:
        looks = (resemblance(s.tensors) for s in find_sets(content, [beginnings(module)]))
        found, share = next((look for look in looks if look[0] is not None), (None, 0.0))
        if share > best:
            best, name = share, found
    return name


def choose(
    content: Mapping[Any, Any], sets: list[WeightSet], missing: list[int]
) -> tuple[WeightSet, Taken]:
    """The first complete set; where none is, the one with the fewest problems, for its message.

    missing: how many names each lacks or has in another shape.
    """
    texts = [
        f"{s.name} ({'EMA' if s.averaged else 'plain'}"
        f"{f', {count} names missing or other' if count else ''})"
        for s, count in zip(sets, missing, strict=True)
    ]
    first = missing.index(min(missing))
    others = [text for i, text in enumerate(texts) if i != first]
    others += [f"{key} (no names)" for key in unnamed_averages(content)]
    return sets[first], Taken(texts[first], tuple(others), sets[first].ignored)


def float32(path: Path, name: str, tensor: Tensor) -> Tensor:
    """The weight in float32, in memory of its own; `UserError` where a value isn't finite there."""
    value = tensor.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    if torch.isfinite(value).all():
        return value
    if torch.isfinite(tensor).all():
        raise UserError(
            f"{path}: {name!r} holds values beyond float32's range (up to "
            f"{float(tensor.abs().max()):.3g}); the training diverged: give another checkpoint"
        )
    raise UserError(
        f"{path}: {name!r} holds values that are not finite; the training diverged or the "
        "file is damaged: give another checkpoint"
    )


def save_checkpoint(
    path: str | Path,
    state: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write `state` as safetensors of `dtype` (float16 or float32), whole or not at all.

    `metadata` goes into the header: `model` and `num_classes`, and what else tells about the
    weights, as `labels` (JSON list). Equal arguments give equal bytes. Raises `UserError` for a
    value that isn't finite in `dtype` and for a file that can't be written.
    """
    if dtype not in (torch.float16, torch.float32):
        raise ValueError(f"dtype {dtype}: float16 or float32")
    path = Path(path)
    tensors = {k: v.detach().to("cpu", dtype).contiguous() for k, v in state.items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"can't save {path}: {name!r} is not finite as {dtype}; use float32")
    data = safetensors.torch.save(tensors)
    # The library writes metadata in the order of a randomly seeded hash map; put it in by hand.
    size = int.from_bytes(data[:8], "little")
    header = {"__metadata__": dict(sorted(metadata.items())), **json.loads(data[8 : 8 + size])}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.write(memoryview(data)[8 + size :])
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"can't write {path}: {error.strerror or error}") from error


def create_model(
    name: str, num_classes: int = 1000, checkpoint: str | Path | None = None, size: int = 224
) -> nn.Module:
    """The network in evaluation mode, float32, on the CPU.

    size: side of its images in pixels, a multiple of 32; networks which don't depend on it take
    others too. Without `checkpoint` its weights are random start values. Raises `UserError` for an
    unknown name, a size that can't be, and a checkpoint that doesn't fit the other arguments.
    """
    preprocess_of(name, size)
    if num_classes < 1:
        raise UserError(f"num_classes {num_classes}: must be at least 1")
    if checkpoint is None:
        return build(at_size(get_variant(name), size), num_classes).eval()
    model = network(name, num_classes, load_checkpoint(checkpoint, name, num_classes).state)
    require_size(model.variant, size, f"the weights of {checkpoint}")
    return model
