"""Qualcomm's NPU compiler, where the user has installed it; LiteRT's own tool drives it.

Its licence lets nobody hand it on: nothing of it is kept or copied here.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mobilemod.errors import UserError, unknown
from mobilemod.files import atomic_path

SECONDS = 1800
VARIABLE, DEFAULT_FOLDER = "MOBILEMOD_QNN", Path(".qnn")  # `make qnn` fills the folder
LIBRARY, PACKAGE = "libQnnHtp.so", "onnxruntime_qnn"
# Below what a user names: a pip folder, the wheel's own, Qualcomm's SDK (QAIRT).
PLACES = (PACKAGE, ".", "lib/x86_64-linux-clang")
# The loader asks for this one too; that of a processor which isn't compiled for may be empty.
UNUSED = "libQnnLpai.so"
MANUFACTURER = "Qualcomm"
PLUGIN = "libLiteRtCompilerPlugin_Qualcomm.so"

VERSION = re.compile(rb"hexnn_ver_v(\d+(?:\.\d+)+)")
SELECTED = re.compile(r"selected (\d+) ops, from a total of (\d+) ops\. resulted in (\d+) part")
# Of LiteRT's log: an op's node in Qualcomm's graph that failed, and the op.
REFUSED = re.compile(r"validation failed: '(?P<node>\w+)'|LiteRT Op #(?P<op>\d+) ")
# Of the compiler's own: why.
REASON = re.compile(r"<E> (.*?) in the node '(\w+)'")
# A product of matrices that the compiled program computes in float, by its number.
FLOAT_PRODUCT = re.compile(r"([0-9a-f]+) \(q::[\w.]*fpmatmul[\w.]*\)")


@dataclass(frozen=True)
class Acceptance:
    """What the compiler takes of a file's ops, for one chip.

    selected of ops, in so many partitions. refused: number of an op, counted from 0 -> why, ""
    where the compiler doesn't say.
    """

    selected: int
    ops: int
    partitions: int
    refused: dict[int, str]


@dataclass(frozen=True)
class Compiled:
    """A compiled file. size: bytes. float_products: products of matrices left in float, as the
    compiler's log has them; each may be of a part of an op of the network."""

    acceptance: Acceptance
    size: int
    seconds: float
    float_products: int


@dataclass(frozen=True)
class Compiler:
    """folder: of the compiler's libraries."""

    folder: Path

    @functools.cached_property
    def chips(self) -> tuple[str, ...]:
        """The chips' names, from the compiler's own list."""
        code = "import sys; from export.npu.qualcomm import print_chips; print_chips(sys.argv[1])"
        plugin = str(_litert() / "vendors/qualcomm/compiler" / PLUGIN)
        with self._environment() as environment:
            done = _run([sys.executable, "-c", code, plugin], environment, Path.cwd())
        return tuple(json.loads(done.stdout.splitlines()[-1])) if not done.returncode else ()

    def require(self, chip: str) -> None:
        """`UserError` where the compiler doesn't know the chip."""
        if self.chips and chip not in self.chips:
            raise unknown("chip", chip, self.chips)

    def accept(self, path: Path, chip: str) -> Acceptance:
        """What is taken of the `.tflite` at `path`, without compiling it: in a second."""
        return self._call("partition", path, chip, None)[0]

    def compile(self, path: Path, chip: str, out: Path) -> Compiled:
        """Write the file compiled for the chip to `out`; takes seconds to minutes."""
        start = time.monotonic()
        with atomic_path(out) as temporary:
            acceptance, log = self._call("apply", path, chip, temporary)
            if not temporary.is_file() or not temporary.stat().st_size:
                raise UserError(f"{path}: {MANUFACTURER}'s compiler made nothing for {chip}")
            size = temporary.stat().st_size
        products = len(set(FLOAT_PRODUCT.findall(log)))
        return Compiled(acceptance, size, time.monotonic() - start, products)

    @functools.cached_property
    def version(self) -> str:
        """Of the compiler, as its library says it; "" where it doesn't."""
        found = VERSION.search((self.folder / LIBRARY).read_bytes())
        return found[1].decode() if found else ""

    def _call(
        self, command: str, path: Path, chip: str, out: Path | None
    ) -> tuple[Acceptance, str]:
        """What LiteRT's tool says of the ops, and the compiler's own log."""
        self.require(chip)
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        litert = _litert()
        words: list[str] = [
            str(litert / "tools/apply_plugin_main"), f"--cmd={command}",
            f"--model={path.resolve()}", f"--libs={litert / 'vendors/qualcomm/compiler'}",
            f"--soc_manufacturer={MANUFACTURER}", f"--soc_model={chip}",
        ]  # fmt: skip
        words += [f"--o={out.resolve()}"] if out else []
        with self._environment() as environment, tempfile.TemporaryDirectory() as name:
            done = _run(words, environment, Path(name))
        try:
            return read_acceptance(done.stderr, done.stdout), done.stdout
        except ValueError as error:
            raise UserError(f"{path}: {MANUFACTURER}'s compiler, {chip}: {error}") from None

    @contextlib.contextmanager
    def _environment(self) -> Iterator[dict[str, str]]:
        with tempfile.TemporaryDirectory() as name:
            command = ["gcc", "-shared", "-x", "c", os.devnull, "-o", f"{name}/{UNUSED}"]
            _run(command, dict(os.environ), Path(name))
            yield {**os.environ, "LD_LIBRARY_PATH": f"{self.folder}:{name}"}


def find_compiler(given: Path | None = None) -> Compiler:
    """The installed compiler. given: a folder, None for MOBILEMOD_QNN's, `.qnn`, or where there is
    neither this environment's.

    `UserError` says how to get it where there is none.
    """
    named = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    named = named or (DEFAULT_FOLDER if DEFAULT_FOLDER.is_dir() else None)
    if named is not None:
        places = [named / place for place in PLACES]
    else:
        spec = importlib.util.find_spec(PACKAGE)
        places = [Path(p) for p in (spec.submodule_search_locations if spec else None) or ()]
    for folder in places:
        if (folder / LIBRARY).is_file():
            return Compiler(folder.resolve())
    raise UserError(
        f"no {MANUFACTURER} compiler in {named or 'this environment'}: no {LIBRARY}; "
        f"'make qnn' brings it under its own licence; --qnn DIR or {VARIABLE} says where it is"
    )


def read_acceptance(said: str, log: str = "") -> Acceptance:
    """said: what LiteRT's tool says; log: the compiler's. `ValueError` where nothing of the ops."""
    counts = SELECTED.findall(said)
    if not counts:
        errors = [line for line in said.splitlines() if line.startswith("ERROR")]
        raise ValueError((errors or ["it says nothing of the ops"])[0])
    reasons = {node: reason for reason, node in REASON.findall(log)}
    refused: dict[int, str] = {}
    node = ""
    for found in REFUSED.finditer(said):
        if found["node"]:
            node = found["node"]
        else:
            refused[int(found["op"])] = reasons.get(node, "")
            node = ""
    selected, ops, partitions = (sum(map(int, column)) for column in zip(*counts, strict=True))
    return Acceptance(selected, ops, partitions, refused)


def print_chips(plugin: str) -> None:
    """The names in LiteRT's plugin for the compiler, as JSON; for a process of its own."""
    library, count = ctypes.CDLL(plugin), ctypes.c_uint32()
    unused = ctypes.create_string_buffer(1)  # a plugin, which these functions don't look at
    library.LiteRtGetNumCompilerPluginSupportedSocModels(unused, ctypes.byref(count))
    names = []
    for i in range(count.value):
        name = ctypes.c_char_p()
        number = ctypes.c_uint32(i)
        library.LiteRtGetCompilerPluginSupportedSocModel(unused, number, ctypes.byref(name))
        names.append((name.value or b"").decode())
    print(json.dumps(names))


def _litert() -> Path:
    spec = importlib.util.find_spec("ai_edge_litert")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("the NPU's compiler is driven by ai-edge-litert; run 'make setup'")
    root = Path(next(iter(spec.submodule_search_locations)))
    if not (root / "vendors/qualcomm/compiler" / PLUGIN).is_file():
        raise UserError(f"this ai-edge-litert has no {PLUGIN}: Linux on x86-64 alone has it")
    return root


def _run(words: list[str], environment: dict[str, str], cwd: Path) -> subprocess.CompletedProcess:
    try:
        return subprocess.run(
            words, env=environment, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace", timeout=SECONDS,
        )  # fmt: skip
    except FileNotFoundError:
        raise UserError(f"'{words[0]}' is missing; the NPU's compiler needs it") from None
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"{MANUFACTURER}'s compiler doesn't run here: {error}") from None
