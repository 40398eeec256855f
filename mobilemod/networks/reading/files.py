"""Files of weights: PyTorch's, safetensors, and what people give in their place.

Nothing in a file is executed: PyTorch files go through `torch.load(weights_only=True)`, and classes
that it doesn't know get an empty stand-in.
"""

from __future__ import annotations

import argparse
import collections
import re
import sys
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING  # Python 2's modules, by whose names pickles call them
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch

from mobilemod.errors import UserError

# What legacy PyTorch files begin with, after the pickle's protocol.
LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
PACKED = (
    (0, b"\x1f\x8b", "gzip"), (0, b"BZh", "bzip2"), (0, b"\xfd7zXZ\0", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"), (0, b"7z\xbc\xaf\x27\x1c", "7z"), (0, b"Rar!", "RAR"),
    (257, b"ustar", "tar"),
)  # fmt: skip
START = 512
STAND_INS_AT_MOST = 64
# Data that training scripts keep beside the weights, by name because their packages hold more.
DATA_NAMES = {
    "numpy.dtype", "numpy.ndarray", "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar", "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct", "types.SimpleNamespace", "datetime.datetime",
    "datetime.date", "datetime.timedelta",
    # Python 3.13 writes its paths as the module's inside.
    *(
        f"{module}.{kind}Path"
        for module in ("pathlib", "pathlib._local")
        for kind in ("", "Posix", "Windows", "Pure", "PurePosix", "PureWindows")
    ),
}  # fmt: skip


def read_checkpoint(path: Path) -> tuple[Mapping[Any, Any], dict[str, str] | None]:
    """What a file holds, as nested mappings with tensors on the CPU, and its metadata.

    The first bytes say which format it is. PyTorch's has no metadata: None. Raises `UserError` for
    anything else than a PyTorch or safetensors file of a mapping.
    """
    start = _start(path)
    if start[8:9] == b"{":
        return _read_safetensors(path)
    if start.startswith(b"PK\x03\x04"):
        _check_archive(path)
        return _read_torch(path), None
    if start.startswith(b"\x80"):
        if len(start) > 2 + len(LEGACY_MAGIC) and LEGACY_MAGIC not in start[:32]:
            raise UserError(
                f"checkpoint {path} is a pickle that PyTorch didn't write; save "
                "model.state_dict() with torch.save"
            )
        return _read_torch(path), None
    raise UserError(f"checkpoint {path} {_what_else(start)}")


def _start(path: Path) -> bytes:
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
            start = file.read(START)
    except OSError as error:
        raise UserError(f"can't read checkpoint {path}: {error.strerror}") from error
    if not start:
        raise UserError(f"checkpoint {path} is empty; download or copy it again")
    return start


def _what_else(start: bytes) -> str:
    """What a file is that begins with `start` and holds no weights, and the mend."""
    for offset, magic, name in PACKED:
        if start[offset:].startswith(magic):
            return f"is packed ({name}); unpack it and give the file inside"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file; run 'git lfs pull'"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    shown = ascii(text[:24].decode("latin-1"))
    if text.startswith(b"<"):
        return f"is a web page or XML (it begins with {shown}); download the file itself"
    if text.startswith(b"{"):
        which = "an index of shards" if b"weight_map" in start or b"total_size" in start else "JSON"
        return f"is {which}, not weights; give one file with all weights, .safetensors or .pth"
    return (
        f"is neither a PyTorch nor a safetensors file (it begins with {start[:9]!r}); "
        "download or copy it again"
    )


def _check_archive(path: Path) -> None:
    """`UserError` for a zip archive that isn't PyTorch's, or holds a program instead of weights."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise damaged(path, error) from error
    inside = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in inside:
        raise UserError(
            f"checkpoint {path} is a TorchScript archive, a program; save only its state_dict, "
            "as torch.save(torch.jit.load(FILE).state_dict(), PATH) where you trust it"
        )
    if "data.pkl" not in inside:
        raise UserError(
            f"checkpoint {path} is a zip archive without PyTorch's data.pkl (it holds "
            f"{ascii(names[0]) if names else 'nothing'}); unpack it and give the file inside"
        )


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except Exception as error:  # a dtype that torch lacks is an AttributeError or a ValueError
        raise damaged(path, error) from error


class _Ignored:
    """Stands in for a class of a training script: takes anything, keeps and does nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _stand_in(name: str) -> type | None:
    """What takes the place of the global `name`, which is never imported; None: refused.

    Classes of training scripts pass, so that their settings don't lock the weights away. Functions
    and what belongs to Python or PyTorch itself don't: no checkpoint needs them, an attack does.
    """
    top, last = name.partition(".")[0], name.rpartition(".")[2]
    own = "." not in name or top in (*sys.stdlib_module_names, *IMPORT_MAPPING, "torch")
    if name not in DATA_NAMES and (own or not last[:1].isupper()):
        return None
    # The unpickler fills exact dicts only.
    return collections.OrderedDict if last.lower().endswith("dict") else _Ignored


def _read_torch(path: Path) -> Mapping[Any, Any]:
    allowed: dict[str, Any] = {"argparse.Namespace": argparse.Namespace}
    allowed |= {name: _Ignored for name in DATA_NAMES}
    met: list[str] = []
    while True:
        pairs = [(stand_in, name) for name, stand_in in allowed.items()]
        try:
            with torch.serialization.safe_globals(pairs), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's, on the pickle protocol
                content = torch.load(path, map_location="cpu", weights_only=True)
            break
        except Exception as error:  # a hostile or cut file can fail anywhere in the unpickler
            refused = re.search(r"GLOBAL (\S+) (?:was not an allowed|whose module)", str(error))
            if not refused:
                raise damaged(path, error) from error
            met.append(refused[1])
            stand_in = _stand_in(refused[1])
            if stand_in is None or refused[1] in allowed or len(met) > STAND_INS_AT_MOST:
                raise UserError(
                    f"checkpoint {path} is refused: it would run code on loading "
                    f"({', '.join(dict.fromkeys((met[0], met[-1])))}); where it was made, save "
                    "only its state_dict with torch.save(model.state_dict(), PATH)"
                ) from error
            allowed[refused[1]] = stand_in
    if not isinstance(content, Mapping):
        kind = met[0] if isinstance(content, _Ignored) and met else type(content).__name__
        raise UserError(
            f"checkpoint {path} holds a {kind}, not a state dict; "
            "save model.state_dict() with torch.save"
        )
    return content


def damaged(path: Path, error: Exception) -> UserError:
    """The error for a file that couldn't be read through."""
    # torch's own reason stands behind a page of advice to load without weights_only
    text = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    reason = text.split("\n")[0][:120] or type(error).__name__
    return UserError(f"checkpoint {path} is cut short or damaged ({reason}); copy it again")
