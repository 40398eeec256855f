"""What each rewrite of the network brings: the form that is exported, with one thing changed.

python -m benchmarks.forms --data /path/to/imagenette --out docs/results

Every variant of the bundled efficientmod_xxs computes the same function in float. Each is
quantized, lowered to int8 `.tflite` and `.pte` and timed in turns with the exported form, one
thread; with an emulated ARM64 processor (`make arm64`) its instructions are counted too.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.measure.machine import machine
from benchmarks.measure.rounds import examine, measure
from benchmarks.measure.series import per_round, ratio
from benchmarks.routes.network import (
    CalibratedNetwork,
    bundle_network,
    checkpoint_option,
    test_images,
)
from export.quiet import quiet
from export.targets.base import FORMS, ModelInfo
from export.targets.executorch import lowering as executorch_lowering
from export.targets.target import get_target
from export.targets.tflite.edit import TfliteModel
from mobilemod import targets
from mobilemod.closure import code_digest
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.files import write_text
from mobilemod.forms.mobile_ops import FormOptions
from mobilemod.manifest import load_bundle
from mobilemod.progress import progress
from quantization.calibration import Calibration, cache_dir, observe
from quantization.program import make_table, quantize
from quantization.recipe import Recipe, Rule, load_recipe

BASE = FORMS["xnnpack"]
TARGETS = ("tflite", "executorch")
BATCH = 8


def _identity(graph: Any) -> Any:
    return graph


def _keep_gelu(model: Any) -> None:
    """Leave the converter's int8 GELU, which LiteRT's XNNPACK delegate doesn't take."""


@dataclass(frozen=True)
class Variant:
    """The exported form with one thing changed.

    rules: more recipe rules, pattern of roles -> dtype. lowering: (object, attribute, replacement)
    during the lowering. targets: the files it makes sense for.
    """

    name: str
    options: FormOptions = BASE
    recipe: str = "cpu"
    rules: tuple[tuple[str, str], ...] = ()
    lowering: tuple[Any, str, Any] | None = None
    targets: tuple[str, ...] = TARGETS


PARTIAL_SUMS = (("depthwise.sum", "float"), ("depthwise", "float"))
RESIDUAL = ("residual", "shifted")
ATTENTION = ("matrix", "scores", "softmax", "context")
VARIANTS = (
    Variant("as exported"),
    Variant("depthwise: 7x7 whole", replace(BASE, most_taps=0)),
    Variant("depthwise: partial sums in float", rules=PARTIAL_SUMS),
    Variant("depthwise: in float (recipe cpu-x86)", recipe="cpu-x86"),
    Variant("stem: 7x7 over 3 channels", replace(BASE, merge_columns=False)),
    Variant("attention: heads split channels-first", replace(BASE, channels_last=False)),
    Variant("attention: all int8", rules=tuple((t, "int8") for t in ATTENTION)),
    Variant("norm: mean as a reduction", replace(BASE, norm_mean="reduce")),
    Variant("residual stream int8", rules=tuple((t, "int8") for t in RESIDUAL)),
    Variant("everything integer (recipe npu)", recipe="npu"),
    Variant(
        "GELU as LiteRT's own int8 op",
        lowering=(TfliteModel, "float_alone", _keep_gelu),
        targets=("tflite",),
    ),
    Variant(
        "transposes where the delegate's passes put them",
        lowering=(executorch_lowering, "simplify", _identity),
        targets=("executorch",),
    ),
)


@dataclass
class FormRow:
    """One variant's file; `reason` where it can't be made.

    exact: the largest difference of the float form's logits from the published network's.
    sqnr_db: of the file's logits against the float network's.
    """

    variant: str
    target: str
    path: Path | None = None
    exact: float | None = None
    sqnr_db: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    ms: float | None = None
    ratio: tuple[float, float, float] | None = None
    instructions: int | None = None
    reason: str = ""


class Maker:
    """Makes the variants' files, into the cache."""

    def __init__(self, network: CalibratedNetwork):
        self.network = network
        self.model = network.published()
        self.canonical = network.canonical()
        size = network.images.shape[-1]
        self.info = ModelInfo("forms", tuple("abcdefghij"), Preprocess(size=size))
        self.images = torch.from_numpy(network.images)

    @torch.no_grad()
    def rows(self, variant: Variant) -> Iterator[FormRow]:
        """A row with its file for every target of the variant."""
        form = self.canonical.form(variant.options)
        exact = float((form(self.images[:2]) - self.model(self.images[:2])).abs().max())
        recipe = _recipe(variant)
        # The name stands for what is done while lowering; functions' addresses differ every time.
        settings = repr((variant.name, variant.options, variant.recipe, variant.rules))
        lowerings = (m for t in TARGETS for m in get_target(t).code("lowering"))
        parts = (
            settings,
            code_digest(*lowerings),
            self.network.digest(),
        )
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
        module = None
        for target in variant.targets:
            backend = get_target(target)
            path = cache_dir() / "forms" / key / f"model{targets.TARGETS[target].suffix}"
            row = FormRow(variant.name, target, path, exact)
            try:
                if not path.exists():
                    if module is None:
                        batches = self.images.split(BATCH)
                        calibration = Calibration("", "", 0, observe(form, batches, len(batches)))
                    module = quantize(
                        form, make_table(form, "xnnpack", recipe, calibration), backend.facts.fold
                    )
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with _changed(variant.lowering), quiet():
                        backend.lower(module, self.info, path, int8=True)
            except Exception as error:  # a tool that refuses a variant is a result
                row.path, row.reason = None, (str(error) or type(error).__name__).splitlines()[0]
            yield row


def _recipe(variant: Variant) -> Recipe:
    recipe = load_recipe(variant.recipe)
    return replace(recipe, rules=recipe.rules + tuple(Rule(d, role=r) for r, d in variant.rules))


@contextlib.contextmanager
def _changed(lowering: tuple[Any, str, Any] | None) -> Iterator[None]:
    with mock.patch.object(*lowering) if lowering else contextlib.nullcontext():
        yield


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Make, check, time and count all variants; the record."""
    bundle, rounds = load_bundle(args.bundle), args.rounds
    network = bundle_network(bundle, args.data, args.calibration, args.checkpoint)
    images = test_images(bundle, args.data, 32)
    maker = Maker(network)
    rows = [
        row for v in progress(VARIANTS, "lowering", len(VARIANTS), "form") for row in maker.rows(v)
    ]
    with torch.no_grad():
        expected = maker.model(torch.from_numpy(images)).numpy()
    for row in progress([r for r in rows if r.path], "checking", None, "file"):
        quality = examine(row.path, images)
        row.facts, row.reason = quality.facts, quality.reason
        if quality.logits is not None:
            row.sqnr_db = sqnr_db(expected, quality.logits)
    usable = [r for r in rows if r.path and not r.reason]
    taken = measure([r.path for r in usable], images[:1], (1,), rounds, args.runs, rounds)
    for i, row in enumerate(usable):
        series = [r.runs[1][i] for r in taken]
        row.ms = float(np.median(np.concatenate(series)))
        base = next(k for k, r in enumerate(usable) if r.target == row.target)
        found = ratio(per_round(series), per_round([r.runs[1][base] for r in taken]))
        row.ratio = (found.median, found.low, found.high)
    _count(usable, images[:1])
    return {
        "schema": "mobilemod/forms/1",
        "machine": machine(),
        "calibration_images": args.calibration,
        "rounds": len(taken),
        "rows": [{**asdict(r), "path": None if r.path is None else r.path.suffix} for r in rows],
    }


def _count(rows: list[FormRow], image: np.ndarray) -> None:
    """Instructions of one inference of each `.tflite`, where emulated ARM64 is set up."""
    from mobilemod.harness.arm64.emulator import load_emulator

    try:
        emulator = load_emulator()
    except UserError as error:
        print(f"no instructions: {error}")
        return
    files = [r for r in rows if r.target == "tflite"]
    for row in progress(files, "counting", len(files), "file"):
        counts = emulator.infer(row.path, image, 1).counts[0]
        row.instructions = sum(counts.values())


def table(record: dict[str, Any]) -> str:
    """Markdown: a line per variant and runtime."""
    lines = [
        "| change to the exported form | file | ms | time, × | ARM64 instructions, M | SQNR, dB "
        "| float error | delegate calls |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in record["rows"]:
        name = f"| {r['variant']} | `{'.tflite' if r['target'] == 'tflite' else '.pte'}` "
        if r["ms"] is None:
            lines.append(f"{name}| {r['reason']} | | | | | |")
            continue
        median, low, high = r["ratio"]
        count = f"{r['instructions'] / 1e6:.1f}" if r["instructions"] else ""
        lines.append(
            f"{name}| {r['ms']:.2f} | {median:.2f} [{low:.2f}, {high:.2f}] | {count} "
            f"| {r['sqnr_db']:.1f} | {r['exact']:.0e} | {r['facts'].get('partitions', '')} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("MOBILEMOD_DATA"))
    parser.add_argument("--bundle", type=Path, default=Path("dist/efficientmod_xxs"))
    checkpoint_option(parser)
    parser.add_argument("--calibration", type=int, default=32, help="images")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder for forms.json and forms.md")
    args = parser.parse_args()
    if args.data is None:
        parser.error("give --data DIR, or set MOBILEMOD_DATA")
    torch.set_num_threads(1)
    args.data = Path(args.data)
    record = run(args)
    print(table(record))
    if args.out:
        for name, text in (
            ("forms.json", json.dumps(record, indent=1)),
            ("forms.md", table(record)),
        ):
            write_text(args.out / name, text + "\n")


if __name__ == "__main__":
    main()
