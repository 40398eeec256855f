"""What an export writes, held byte by byte against what was recorded.

`python -m tests.exports --record` records the digests again, where other files are wanted.
The checkpoints are drawn, and so are the ranges of their canonical form's tensors, so that no sum
decides which differs between processors; the bundled network has its own table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from tests.commands import COMMAND, ROOT

RECORDED = ROOT / "tests" / "data" / "exports.json"
TARGETS = "executorch,tflite,coreml"
CLASSES = 10


@dataclass(frozen=True)
class Case:
    """One export: the variant's name, the recipe, the size in pixels."""

    model: str
    recipe: str
    size: int

    @property
    def name(self) -> str:
        """As the digests are recorded under."""
        return f"{self.model} {self.recipe} {self.size}"


CASES = (
    Case("efficientmod_xxs", "cpu", 224),
    Case("efficientmod_xs", "cpu", 64),
    Case("efficientmod_s_conv", "cpu", 64),
    Case("efficientmod_xxs", "cpu-x86", 224),
    Case("efficientmod_xxs", "npu", 224),
)


def draw_checkpoint(model: str, size: int, folder: Path) -> Path:
    """A checkpoint of drawn weights in `folder`, its calibration table beside it."""
    import torch

    from export.targets.base import FORMS
    from mobilemod.forms.canonical import canonical_form
    from mobilemod.networks.checkpoints import save_checkpoint
    from mobilemod.networks.registry import get_variant, network
    from mobilemod.networks.synthetic import trained_like_state
    from quantization.calibration import Calibration, Observed, observe, weights_digest

    state = trained_like_state(get_variant(model), CLASSES)
    path = folder / f"{model}.safetensors"
    labels = json.dumps([f"class {i}" for i in range(CLASSES)])
    save_checkpoint(path, state, {"model": model, "labels": labels}, torch.float32)
    canonical = canonical_form(network(model, CLASSES, state), (3, size, size))
    form = canonical.form(FORMS["xnnpack"])
    seen = observe(form, [torch.zeros(1, 3, size, size)], 1)
    ranges = {name: Observed.fixed(*_drawn_range(name, seen[name].low)) for name in seen}
    table = Calibration(weights_digest(canonical.state()), "drawn", 1, ranges)
    table.save(path.with_suffix(".calibration.json"))
    return path


def _drawn_range(name: str, low: float) -> tuple[float, float]:
    high = 1 + zlib.crc32(name.encode()) % 64 / 8
    return (0.0 if low >= 0 else -high, high)


def export_command(case: Case, folder: Path) -> list[str]:
    """The command that exports `case` into `folder`/bundle."""
    more: list[str] = []
    if case.model != "efficientmod_xxs":
        more = ["--checkpoint", str(draw_checkpoint(case.model, case.size, folder))]
    return [
        "export", "--model", case.model, "--recipe", case.recipe, "--size", str(case.size),
        "--targets", TARGETS, *more, "--out", str(folder / "bundle"),
    ]  # fmt: skip


def digests(bundle: Path) -> dict[str, str]:
    """sha256 of each model file, by name; a package's is that of its parts."""
    manifest = json.loads((bundle / "manifest.json").read_text("utf-8"))
    return {entry["file"]: entry["sha256"] for entry in manifest["files"]}


def main() -> None:
    """Export every case; print, and record where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help=f"write {RECORDED.name}")
    record, found = parser.parse_args().record, {}
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            command = [*COMMAND, *export_command(case, Path(folder))]
            subprocess.run(command, cwd=ROOT, check=True)
            found[case.name] = digests(Path(folder) / "bundle")
    text = json.dumps(found, indent=1) + "\n"
    print(text)
    if record:
        RECORDED.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
