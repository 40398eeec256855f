"""What outlier channels cost in int8: our files against one scale per tensor by min and max.

python -m benchmarks.outliers --data /path/to/imagenette --out docs/results

The bundled checkpoint is small and well behaved; networks trained for long on much data are not.
So outlier channels are planted in it, which leave the float network as it is
(`mobilemod.models.outliers`), and both networks are quantized: by us, by a simulation of plain
min-max int8 with one scale per tensor, and by tools that do so where no option is set. Exports,
files and answers are cached: an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import accuracy
from benchmarks.accuracy_rows import (
    Judge,
    Row,
    decibels,
    export,
    our_rows,
    peer_row,
    row_record,
    title,
)
from benchmarks.answers import EXACT
from benchmarks.latency_report import aligned, markdown
from benchmarks.machine import machine, packages
from benchmarks.network import bundle_network
from benchmarks.plain_onnx import onnx2tf_environment
from export.source import open_source
from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import top_k
from mobilemod.models.checkpoints import load_checkpoint, save_checkpoint
from mobilemod.models.efficientmod import get_variant
from mobilemod.models.outliers import Planted, plant_outliers
from mobilemod.results.table import drop_text
from quantization.calibration import cache_dir

SCHEMA = "mobilemod/outliers/1"
SIMULATED = "minmax"
PEERS = (
    (SIMULATED, ""),
    ("onnxruntime-int8-default", EXACT),
    ("executorch-int8-per-tensor", ""),
    ("executorch-int8", ""),
)
MAX_OURS, MIN_PLAIN = 1.0, 5.0
SAME_LOGITS = 1e-4
NOTES = (
    "Planted in every block: one channel of each LayerNorm's scale and shift times 30, one channel "
    "of the modulation times 20, the linears that read them divided by the same: the float network "
    "stays. Drop: top-1 points lost against the float network on the same images, with the paired "
    "95 % interval. Simulated: weights and activations of every convolution and linear of the "
    "published form in int8, one scale per tensor from minimum and maximum, computed in torch."
)


@dataclass(frozen=True)
class Network:
    """One of the two networks' rows. planted: what was planted, empty for the one as it comes."""

    judge: Judge
    rows: list[Row]
    planted: list[Planted]


def plant(model: str, seed: int, folder: Path) -> tuple[Path, list[Planted]]:
    """The checkpoint with planted outliers, written below `folder` in float32; what was planted."""
    source = open_source(model, None, None)
    state, planted = plant_outliers(source.state, get_variant(model), seed)
    path = folder / f"{model}-outliers-{seed}.safetensors"
    metadata = load_checkpoint(source.checkpoint).metadata
    save_checkpoint(path, state, {**metadata, "outliers": f"planted, seed {seed}"}, torch.float32)
    return path, planted


def measure(
    args: argparse.Namespace, peers: Sequence[tuple[str, str]], seed: int | None, folder: Path
) -> Network:
    """Export, quantize by the other tools, and judge; seed None: the network as it comes."""
    checkpoint, planted = (None, []) if seed is None else plant(args.model, seed, folder)
    name = "as-it-comes" if seed is None else f"outliers-{seed}"
    bundle = export(args.model, args.data, folder / f"bundle-{args.model}-{name}", checkpoint)
    judge, rows = our_rows(bundle, args.data, args.limit)
    network = bundle_network(bundle, args.data, bundle.manifest["calibration"]["images"])
    for peer, how in peers:
        rows.append(peer_row(peer, network, judge, how))
        print(f"{name}, {title(rows[-1])}: {rows[-1].reason or rows[-1].top1}", file=sys.stderr)
    return Network(judge, rows, planted)


def check_same(plain: Network, changed: Network) -> float:
    """The largest difference of the two float networks' logits; `UserError` where over 1e-4.

    In parts of the largest logit.
    """
    a, b = (n.judge.reference.logits for n in (plain, changed))
    error = float(np.abs(a - b).max() / np.abs(a).max())
    if not error <= SAME_LOGITS:
        raise UserError(f"planting outliers changed the float network by {error:.1e}")
    return error


def table_of(plain: Network, changed: Network) -> list[list[str]]:
    """One line per file: its drop without and with outliers."""
    table = [["file", "as it comes: drop", "95 %", "SQNR dB"]]
    table[0] += ["with outliers: drop", "95 %", "SQNR dB"]
    for a, b in zip(plain.rows, changed.rows, strict=True):
        table.append([title(a), *_cells(a), *_cells(b)])
    return table


def _cells(row: Row) -> list[str]:
    if row.drop is None:
        return ["not run", "–", "–"]
    return [*drop_text(dataclasses.asdict(row.drop)), decibels(row.sqnr)]


def verdicts(changed: Network) -> list[tuple[str, bool]]:
    """Asked and measured: lines with whether they hold."""
    found = []
    for row in changed.rows:
        if row.drop is None:
            continue
        if row.ours:
            text = f"{title(row)} loses at most {MAX_OURS:g} points"
            found.append((f"{text}: {row.drop.points:.2f}", row.drop.points <= MAX_OURS))
        elif row.key.partition("-exact")[0] != "executorch-int8":
            text = f"{title(row)} loses {MIN_PLAIN:g} points or more"
            found.append((f"{text}: {row.drop.points:.2f}", row.drop.points >= MIN_PLAIN))
    return found


def text(plain: Network, changed: Network, table: Any) -> str:
    """The result; table: `aligned` or `markdown`."""
    judge = changed.judge
    top1 = [top_k(n.judge.reference.logits, judge.targets, 1) for n in (plain, changed)]
    missing = accuracy.missing_lines([*plain.rows, *changed.rows])
    asked = [f"- {line}: {'yes' if holds else 'no'}" for line, holds in verdicts(changed)]
    parts = [
        f"{judge.bundle.manifest['model']}, {len(changed.planted)} outlier channels, "
        f"{len(judge.kept)} validation images; float network as it comes {top1[0]:.2f} %, with "
        f"outliers {top1[1]:.2f} %",
        table(table_of(plain, changed)),
        "\n".join(f"- {line}" for line in dict.fromkeys(missing)),
        "\n".join(["With outliers, asked and measured:", "", *asked]),
    ]
    return "\n\n".join(p for p in parts if p)


def record(plain: Network, changed: Network, facts: dict[str, Any]) -> dict[str, Any]:
    """The whole run's JSON values."""
    manifest = changed.judge.bundle.manifest
    return {
        "schema": SCHEMA,
        **facts,
        "model": manifest["model"],
        "recipe": manifest["recipe"]["name"],
        "images": len(changed.judge.kept),
        "calibration_images": manifest["calibration"]["images"],
        "float_difference": check_same(plain, changed),
        "planted": [dataclasses.asdict(p) for p in changed.planted],
        "networks": [
            {
                "outliers": bool(n.planted),
                "weights": n.judge.bundle.manifest["checkpoint"]["weights"],
                "files": [row_record(r) for r in n.rows],
            }
            for n in (plain, changed)
        ],
        "checks": [{"check": line, "holds": holds} for line, holds in verdicts(changed)],
    }


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options, checked; `UserError` for a bad one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    accuracy.common_options(parser)
    parser.add_argument("--seed", type=int, default=0, help="which channels are taken")
    args = parser.parse_args(argv)
    accuracy.check_common(args)
    return args


def run(args: argparse.Namespace) -> None:
    """Measure both networks, print and write."""
    torch.set_num_threads(1)
    peers = accuracy.chosen(PEERS, args.skip)
    folder = cache_dir() / "outliers"
    plain = measure(args, peers, None, folder)
    changed = measure(args, peers, args.seed, folder)
    check_same(plain, changed)
    print(text(plain, changed, aligned))
    if args.out:
        facts = {"machine": machine(), "packages": packages(onnx2tf_environment())}
        body = text(plain, changed, markdown)
        accuracy.write(args.out, "outliers", record(plain, changed, facts),
                       accuracy.page("Outlier channels", NOTES, body, facts))  # fmt: skip


def main() -> int:
    """Exit code 0, or 2 for bad input, said in one line."""
    try:
        run(parse())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
