"""What outlier channels cost in int8: our files against one scale per tensor by min and max.

python -m benchmarks.outliers --data /path/to/imagenette --out docs/results

The bundled checkpoint is small and well behaved; networks trained for long on much data are not.
So outlier channels are planted in it, which leave the float network as it is
(`mobilemod.networks.outliers`), and it is quantized with them and without: by us, by a simulation
of plain min-max int8 with one scale per tensor, and by tools that do so where no option is set.
Exports, files and answers are cached: an interrupted run goes on where it was.
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
from benchmarks.measure.machine import machine, packages
from benchmarks.reports.command import command
from benchmarks.reports.latency_report import aligned, markdown
from benchmarks.routes.accuracy_rows import (
    AccuracyRow,
    Judge,
    decibels,
    export,
    our_rows,
    peer_row,
    row_record,
    title,
)
from benchmarks.routes.network import bundle_network
from benchmarks.routes.plain_onnx import onnx2tf_environment
from export.source import open_source
from mobilemod.errors import UserError
from mobilemod.networks.checkpoints import load_checkpoint, save_checkpoint
from mobilemod.networks.outliers import (
    MODULATION_FACTOR,
    NORM_FACTOR,
    Planted,
    plant_outliers,
)
from mobilemod.networks.registry import get_variant
from mobilemod.results.table import drop_text
from mobilemod.tasks.classification.accuracy import top_k
from quantization.calibration import cache_dir

SCHEMA = "mobilemod/outliers/1"
# One scale per tensor, and for comparison one tool with a scale per weight channel.
PER_TENSOR = ("minmax", "onnxruntime-int8-default", "executorch-int8-per-tensor")
PEERS = tuple((name, "") for name in (*PER_TENSOR, "executorch-int8"))
MAX_OURS, MIN_PLAIN = 1.0, 5.0
MAX_STRENGTH = 1000.0
SAME_LOGITS = 1e-4
NOTES = (
    "Planted in every block: the largest channel of each LayerNorm's scale and shift times 30, the "
    "largest channel of the modulation times 20 (× 1), or twice as much (× 2), the linears that "
    "read them divided by the same: the float network stays. Drop: top-1 points lost against the "
    "float network on the same images, with the paired 95 % interval. Simulated: weights and "
    "activations of every convolution and linear of the published form in int8, one scale per "
    "tensor from minimum and maximum, computed in torch."
)


@dataclass(frozen=True)
class PlantedNetwork:
    """One network's rows. strength: of its outliers, 0 for the one as it comes."""

    strength: float
    judge: Judge
    rows: list[AccuracyRow]
    planted: list[Planted]

    @property
    def heading(self) -> str:
        """ "as it comes" or "× 1"."""
        return f"× {self.strength:g}" if self.strength else "as it comes"


def plant(model: str, strength: float, seed: int | None, path: Path) -> list[Planted]:
    """Write the checkpoint with outliers of `strength` to `path`, float32; what was planted."""
    source = open_source(model, None, None)
    factors = (strength * NORM_FACTOR, strength * MODULATION_FACTOR)
    state, planted = plant_outliers(source.module.state_dict(), get_variant(model), seed, *factors)
    metadata = load_checkpoint(source.checkpoint).metadata
    save_checkpoint(path, state, {**metadata, "outliers": f"planted, × {strength:g}"},
                    torch.float32)  # fmt: skip
    return planted


def measure(
    args: argparse.Namespace, peers: Sequence[tuple[str, str]], strength: float
) -> PlantedNetwork:
    """Plant, export, quantize by the other tools, and judge."""
    channel = "largest" if args.seed is None else f"seed-{args.seed}"
    name = f"{args.model}-{channel}-{strength:g}" if strength else args.model
    folder, checkpoint, planted = cache_dir() / "outliers", None, []
    if strength:
        checkpoint = folder / f"{name}.safetensors"
        planted = plant(args.model, strength, args.seed, checkpoint)
    bundle = export(args.model, args.data, folder / f"bundle-{name}", checkpoint)
    judge, rows = our_rows(bundle, args.data, args.limit)
    network = bundle_network(bundle, args.data, bundle.manifest.calibration.images, checkpoint)
    for peer, how in peers:
        rows.append(peer_row(peer, network, judge, how))
        print(f"{name}, {title(rows[-1])}: {rows[-1].reason or rows[-1].top1}", file=sys.stderr)
    return PlantedNetwork(strength, judge, rows, planted)


def check_same(networks: Sequence[PlantedNetwork]) -> float:
    """The largest difference of a float network's logits to the first's, in parts of the largest.

    Raises `UserError` where it is over 1e-4.
    """
    first, *others = (n.judge.reference.outputs for n in networks)
    error = max((float(np.abs(x - first).max() / np.abs(first).max()) for x in others), default=0.0)
    if not error <= SAME_LOGITS:
        raise UserError(f"planting outliers changed the float network by {error:.1e}")
    return error


def table_of(networks: Sequence[PlantedNetwork]) -> list[list[str]]:
    """One line per file, three columns per network."""
    heading = [c for n in networks for c in (f"{n.heading}: drop", "95 %", "SQNR dB")]
    table = [["file", *heading]]
    for rows in zip(*(n.rows for n in networks), strict=True):
        table.append([title(rows[0]), *(cell for row in rows for cell in _cells(row))])
    return table


def _cells(row: AccuracyRow) -> list[str]:
    if row.drop is None:
        return ["not run", "–", "–"]
    return [*drop_text(dataclasses.asdict(row.drop)), decibels(row.sqnr)]


def verdicts(network: PlantedNetwork) -> list[tuple[str, bool]]:
    """Asked of one network and measured: lines with whether they hold."""
    found = []
    for row in network.rows:
        if row.drop is not None and (row.ours or row.key in PER_TENSOR):
            asked = f"at most {MAX_OURS:g}" if row.ours else f"{MIN_PLAIN:g} or more"
            points = row.drop.points
            holds = points <= MAX_OURS if row.ours else points >= MIN_PLAIN
            line = f"{network.heading}: {title(row)} loses {asked} points: {points:.2f}"
            found.append((line, holds))
    return found


def text(networks: Sequence[PlantedNetwork], table: Any) -> str:
    """The result; table: `aligned` or `markdown`."""
    judge, last = networks[0].judge, networks[-1]
    top1 = top_k(judge.reference.outputs, judge.targets, 1)
    missing = accuracy.missing_lines([row for n in networks for row in n.rows])
    asked = [v for n in networks if n.strength for v in verdicts(n)]
    parts = [
        f"{judge.bundle.manifest.model}, {len(last.planted)} outlier channels, "
        f"{len(judge.kept)} validation images; float network {top1:.2f} %, its logits the same "
        f"with outliers within {check_same(networks):.0e}",
        table(table_of(networks)),
        "\n".join(f"- {line}" for line in dict.fromkeys(missing)),
        "Asked and measured:",
        "\n".join(f"- {line}: {'yes' if holds else 'no'}" for line, holds in asked),
    ]
    return "\n\n".join(p for p in parts if p)


def record(networks: Sequence[PlantedNetwork], facts: dict[str, Any]) -> dict[str, Any]:
    """The whole run's JSON values."""
    judge = networks[0].judge
    manifest = judge.bundle.manifest
    return {
        "schema": SCHEMA,
        **facts,
        "model": manifest.model,
        "recipe": manifest.recipe.name,
        "images": len(judge.kept),
        "calibration_images": manifest.calibration.images,
        "float_difference": check_same(networks),
        "networks": [
            {
                "strength": n.strength,
                "planted": [dataclasses.asdict(p) for p in n.planted],
                "weights": n.judge.bundle.manifest.checkpoint.weights,
                "files": [row_record(r) for r in n.rows],
                "checks": [
                    {"check": line, "holds": holds}
                    for line, holds in (verdicts(n) if n.strength else ())
                ],
            }
            for n in networks
        ],
    }


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options, checked; `UserError` for a bad one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    accuracy.common_options(parser)
    parser.add_argument("--strengths", default="1,2", help="of outliers, separated by commas")
    parser.add_argument("--seed", type=int, help="draw the channels; without it the largest")
    args = parser.parse_args(argv)
    accuracy.check_common(args)
    try:
        args.strengths = [float(s) for s in args.strengths.split(",")]
    except ValueError:
        raise UserError(f"--strengths {args.strengths}: give numbers, as 1,2") from None
    if not all(0 < s <= MAX_STRENGTH for s in args.strengths):
        raise UserError(f"--strengths must be above 0, and {MAX_STRENGTH:g} at most")
    return args


def run(args: argparse.Namespace) -> None:
    """Measure every network, print and write."""
    torch.set_num_threads(1)
    peers = accuracy.chosen(PEERS, args.skip)
    networks = [measure(args, peers, strength) for strength in (0.0, *args.strengths)]
    print(text(networks, aligned))
    if args.out:
        facts = {"machine": machine(), "packages": packages(onnx2tf_environment())}
        body = text(networks, markdown)
        accuracy.write(args.out, "outliers", record(networks, facts),
                       accuracy.page("Outlier channels", NOTES, body, facts))  # fmt: skip


if __name__ == "__main__":
    sys.exit(command(run, parse))
