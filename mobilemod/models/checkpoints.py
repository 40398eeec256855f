"""Checkpoints: the authors' training files, plain state dicts, our own safetensors.

Nothing in a file is executed: PyTorch files go through `torch.load(weights_only=True)`. Read from
top to bottom: loading, the formats, the fit to a variant, saving, `create_model`.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from mobilemod.errors import UserError
from mobilemod.files import atomic_path, file_sha256
from mobilemod.models.efficientmod import VARIANTS, EfficientMod, Variant, get_variant

# The average of the weights is what the authors evaluate, so it comes first.
WEIGHT_KEYS = ("state_dict_ema", "ema", "state_dict", "model")
PREFIX = "module."
NAMED_AT_MOST = 3
LOOKS_LIKE_SHARE = 0.5
SHAPES = dict[str, tuple[int, ...]]


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


def load_checkpoint(
    path: str | Path, variant_name: str | None = None, num_classes: int | None = None
) -> LoadedCheckpoint:
    """Read `path` and check it against `variant_name`, name by name and shape by shape.

    Of a training file the weights under `state_dict_ema` are taken where they are there (they are
    the ones the published accuracy was measured with), else `ema`, `state_dict`, `model`, in this
    order. Without `variant_name` it is the one the file says or looks like; without `num_classes`
    the number of rows of `head.weight`. Raises `UserError` for a file that can't be read, would
    run code, doesn't fit, or holds a value that isn't finite.
    """
    path = Path(path)
    if variant_name is not None:
        get_variant(variant_name)
    raw, metadata = _read(path)
    state = _strip_prefix(raw)
    if variant_name is None:
        said = metadata.get("model")
        variant_name = said if said in VARIANTS else identify(state)
    if variant_name is None:
        raise UserError(
            f"{path} looks like none of the known variants ({', '.join(VARIANTS)}): {len(state)} "
            f"tensors, the first {next(iter(state))!r}; give an EfficientMod checkpoint"
        )
    head = state.get("head.weight")
    if num_classes is None:
        num_classes = head.shape[0] if head is not None and head.ndim == 2 else 1000
    _check_fit(path, state, get_variant(variant_name), num_classes)
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise UserError(
                f"{path}: {name!r} holds values that are not finite; the training diverged or the "
                "file is damaged: give another checkpoint"
            )
    return LoadedCheckpoint(state, variant_name, num_classes, file_sha256(path), metadata)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file and its metadata; the first bytes say which format it is."""
    if path.is_dir():
        raise UserError(f"checkpoint {path} is a folder; give the file inside it")
    if not path.exists():
        raise UserError(f"no checkpoint at {path}; check the path")
    if not path.is_file():
        raise UserError(
            f"checkpoint {path} is not a regular file; give a .pth, .pt or .safetensors"
        )
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise UserError(f"can't read checkpoint {path}: {error.strerror}") from error
    if not start:
        raise UserError(f"checkpoint {path} is empty; download or copy it again")
    if start[8:9] == b"{":
        return _read_safetensors(path)
    if start.startswith((b"PK\x03\x04", b"\x80")):
        return _read_torch(path)
    raise UserError(
        f"checkpoint {path} is neither a PyTorch nor a safetensors file (it begins with "
        f"{start!r}); download or copy it again"
    )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise _damaged(path, error) from error
    return _as_state(path, tensors), metadata


def _read_torch(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Training files hold `args`, a Namespace, and now and then a NumPy scalar; these may pass."""
    numpy_names = ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    allowed = [argparse.Namespace, *((_Ignored, name) for name in numpy_names)]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, on the pickle protocol
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile or cut file can fail anywhere in the unpickler
        refused = re.search(r"GLOBAL (\S+) (?:was not an allowed|whose module)", str(error))
        if refused:
            raise UserError(
                f"checkpoint {path} is refused: it would run code on loading "
                f"({refused[1]}); save only its state_dict with torch.save"
            ) from error
        raise _damaged(path, error) from error
    if not isinstance(content, Mapping):
        raise UserError(
            f"checkpoint {path} holds a {type(content).__name__}, not a state dict; "
            "save model.state_dict() with torch.save"
        )
    for key in WEIGHT_KEYS:
        inner = content.get(key)
        if isinstance(inner, Mapping) and any(isinstance(v, Tensor) for v in inner.values()):
            return _as_state(path, inner), {"weights": key}
    return _as_state(path, content), {"weights": ""}


class _Ignored:
    """Stands in for NumPy's scalar types while unpickling: takes anything, keeps and does nothing.

    (NumPy's own reconstruction of a scalar is no code that should see a foreign file.)
    """

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _damaged(path: Path, error: Exception) -> UserError:
    # torch's own reason stands behind a page of advice to load without weights_only
    text = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    reason = text.split("\n")[0][:120] or type(error).__name__
    return UserError(f"checkpoint {path} is cut short or damaged ({reason}); copy it again")


def _as_state(path: Path, tensors: Mapping) -> dict[str, Tensor]:
    if not any(isinstance(v, Tensor) for v in tensors.values()):
        raise UserError(
            f"checkpoint {path} holds no weights: neither a state dict nor one under "
            f"{', '.join(WEIGHT_KEYS)}"
        )
    state = {}
    for name, value in tensors.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided:
            raise UserError(
                f"checkpoint {path}: {name!r} is a {type(value).__name__}, not a dense tensor; "
                "save model.state_dict() with torch.save"
            )
        if not value.is_floating_point():
            raise UserError(
                f"checkpoint {path}: {name!r} is {value.dtype}, not a float tensor; "
                "give the float checkpoint, before any quantization"
            )
        state[str(name)] = value.detach().to(torch.float32).contiguous()
    return state


def _strip_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the `module.` that DataParallel puts before every name."""
    while all(name.startswith(PREFIX) for name in state):
        state = {name[len(PREFIX) :]: tensor for name, tensor in state.items()}
    return state


@functools.cache
def expected_shapes(variant: Variant, num_classes: int) -> SHAPES:
    """Every parameter's name and shape, in the network's order."""
    with torch.random.fork_rng(devices=[]):  # the start values must not move the caller's seed
        model = EfficientMod(variant, num_classes)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def identify(state: Mapping[str, Tensor]) -> str | None:
    """The known variant with the most in common, or None.

    In common: the share of equal (name, shape) pairs among all of both (the Jaccard index), the
    head apart, which depends on the classes only; None where it is under a half.
    """
    found = {(k, tuple(v.shape)) for k, v in state.items() if not k.startswith("head.")}
    best, best_share = None, LOOKS_LIKE_SHARE
    for name, variant in VARIANTS.items():
        shapes = expected_shapes(variant, 1000)
        expected = {(k, v) for k, v in shapes.items() if not k.startswith("head.")}
        share = len(found & expected) / len(found | expected)
        if share >= best_share:
            best, best_share = name, share
    return best


def _check_fit(path: Path, state: dict[str, Tensor], variant: Variant, num_classes: int) -> None:
    expected = expected_shapes(variant, num_classes)
    problems = []
    for name, shape in expected.items():
        if name not in state:
            problems.append(f"{name} missing")
        elif tuple(state[name].shape) != shape:
            problems.append(f"{name} has shape {_shape(state[name].shape)}, not {_shape(shape)}")
    problems += [f"{name} unexpected" for name in state if name not in expected]
    if not problems:
        return
    head = state.get("head.weight")
    if head is not None and head.ndim == 2 and all(p.startswith("head.") for p in problems):
        raise UserError(
            f"{path} doesn't fit {variant.name} with {num_classes} classes: its head has "
            f"{head.shape[0]}; ask for num_classes={head.shape[0]}"
        )
    looks = identify(state)
    fix = f"ask for {looks}" if looks not in (None, variant.name) else "give another checkpoint"
    raise UserError(
        f"{path} doesn't fit {variant.name}: it looks like {looks or 'none of the known variants'};"
        f" {', '.join(problems[:NAMED_AT_MOST])}; {len(problems)} names missing, unexpected or of a"
        f" wrong shape in all; {fix}"
    )


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


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
    name: str, num_classes: int = 1000, checkpoint: str | Path | None = None
) -> EfficientMod:
    """The network in evaluation mode, float32, on the CPU.

    Without `checkpoint` its weights are random start values. Raises `UserError` for an unknown
    name and for a checkpoint that doesn't fit `name` and `num_classes`.
    """
    variant = get_variant(name)
    if num_classes < 1:
        raise UserError(f"num_classes {num_classes}: must be at least 1")
    state = load_checkpoint(checkpoint, name, num_classes).state if checkpoint else None
    model = EfficientMod(variant, num_classes)
    if state is not None:
        model.load_state_dict(state, strict=True)
    return model.eval()
