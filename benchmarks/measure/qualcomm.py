"""Which ops of a `.tflite` Qualcomm's NPU compiler takes, where the user has installed it.

`pip install --target DIR onnxruntime-qnn` brings the compiler's libraries; LiteRT's own tool loads
them. Their licence lets nobody hand them on: nothing of them is kept here.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import tempfile
from pathlib import Path

from mobilemod.errors import UserError

SOC = "SM8750"
SECONDS = 600
LIBRARY, PACKAGE = "libQnnHtp.so", "onnxruntime_qnn"
# The loader asks for this one too; that of a processor which isn't compiled for may be empty.
UNUSED = "libQnnLpai.so"
SELECTED = re.compile(r"selected (\d+) ops, from a total of (\d+) ops\. resulted in (\d+) part")


def compiler_folder(given: Path | None) -> Path:
    """The folder of the compiler's libraries; given: where the package was installed to, None for
    the environment's own. `UserError` where there is none."""
    found = importlib.util.find_spec(PACKAGE) if given is None else None
    places = list(found.submodule_search_locations or ()) if found else []
    for folder in map(Path, [given / PACKAGE, given] if given else places):
        if (folder / LIBRARY).is_file():
            return folder.resolve()
    raise UserError(
        f"no Qualcomm compiler in {given or 'this environment'}: no {LIBRARY}; "
        "'pip install --target DIR onnxruntime-qnn' brings it, --qnn DIR says where it is"
    )


def acceptance(path: Path, folder: Path) -> dict[str, int]:
    """`selected` of `ops`, in `partitions`; `UserError` where the compiler says nothing of them."""
    litert = importlib.util.find_spec("ai_edge_litert")
    root = Path(next(iter(litert.submodule_search_locations))) if litert else Path("absent")
    with tempfile.TemporaryDirectory() as name:
        try:
            subprocess.run(
                ["gcc", "-shared", "-x", "c", os.devnull, "-o", f"{name}/{UNUSED}"],
                check=True, capture_output=True,
            )  # fmt: skip
            done = subprocess.run(
                [
                    root / "tools" / "apply_plugin_main", "--cmd=partition", f"--model={path}",
                    f"--libs={root / 'vendors' / 'qualcomm' / 'compiler'}",
                    "--soc_manufacturer=Qualcomm", f"--soc_model={SOC}",
                ],
                env={**os.environ, "LD_LIBRARY_PATH": f"{folder}:{name}"},
                cwd=name, capture_output=True, text=True, errors="replace", timeout=SECONDS,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            raise UserError(f"Qualcomm's compiler doesn't run here: {error}") from None
    return counts(done.stdout + done.stderr)


def counts(said: str) -> dict[str, int]:
    """What LiteRT's tool says of the ops; `UserError` where it says nothing."""
    found = SELECTED.search(said)
    if found is None:
        errors = [line for line in said.splitlines() if line.startswith("ERROR")]
        raise UserError(f"Qualcomm's compiler says nothing of the ops: {(errors or [''])[0]}")
    return dict(zip(("selected", "ops", "partitions"), map(int, found.groups()), strict=True))
