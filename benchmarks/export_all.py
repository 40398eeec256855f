"""Time and peak memory of exporting every variant to every runtime, from a cold cache.

The weights are random with a trained network's spread: what an export costs doesn't depend on
them. Prints a table; with --json also writes it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

from mobilemod.networks.registry import get_variant, variants


def export_variant(name: str, data: Path, targets: str) -> dict:
    """Export `name` with a cache of its own; the export's record."""
    import torch

    from export.bundle import ExportConfig, export_bundle
    from mobilemod.networks.checkpoints import save_checkpoint
    from mobilemod.networks.synthetic import trained_like_state

    with tempfile.TemporaryDirectory() as folder:
        os.environ["MOBILEMOD_CACHE"] = f"{folder}/cache"
        checkpoint = Path(folder) / "weights.safetensors"
        state = trained_like_state(get_variant(name))
        save_checkpoint(checkpoint, state, {"model": name}, torch.float32)
        config = ExportConfig(
            name, Path(folder) / "bundle", checkpoint, data, tuple(targets.split(","))
        )
        return export_bundle(config).to_dict()


def table(records: list[dict]) -> str:
    """One line per file, one per variant."""
    lines = ["| variant | file | seconds | peak memory, MB | size, MB | int8 MACs |"]
    lines.append("|---|---|---|---|---|---|")
    for r in records:
        for f in r["files"]:
            share = f"{f['audit']['int8_share']:.1%}" if f["precision"] == "int8" else ""
            lines.append(
                f"| {r['model']} | {f['target']} {f['precision']} | {f['seconds']:.0f} "
                f"| {f['peak_mb']} | {f['bytes'] / 1e6:.1f} | {share} |"
            )
        lines.append(f"| {r['model']} | whole export | {r['seconds']:.0f} | {r['peak_mb']} | | |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("MOBILEMOD_DATA"))
    parser.add_argument("--models", default=",".join(variants()))
    parser.add_argument("--targets", default="executorch,tflite,coreml")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    records = []
    for name in args.models.split(","):
        records.append(export_variant(name, Path(args.data), args.targets))
        print(table(records[-1:]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
