"""SegFormer-b0 from a folder of Hugging Face's to its files, which are compared pixel by pixel.

python -m benchmarks.segmentation.segformer --data SCENES --out DIR --size 128

Its weights are drawn, with a trained network's spread: mIoU says nothing, pixels do.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.reports.command import command
from export.api.exporting import export
from export.api.validating import validate
from mobilemod.errors import UserError
from mobilemod.networks.synthetic import trained_like
from mobilemod.results.table import aligned
from mobilemod.targets import DEFAULTS
from mobilemod.tasks.segmentation.folder import class_names_in

# The configuration that was published for ADE20K, of Xie et al., SegFormer (2021), table 6.
B0 = {
    "hidden_sizes": [32, 64, 160, 256], "depths": [2, 2, 2, 2], "sr_ratios": [8, 4, 2, 1],
    "num_attention_heads": [1, 2, 5, 8], "decoder_hidden_size": 256,
}  # fmt: skip


def write_folder(folder: Path, labels: list[str], reduce_labels: bool = False) -> None:
    """The network with an output for each label, its weights drawn, as `save_pretrained` has it.

    reduce_labels: as its processor says, that labels are from 1.
    """
    import transformers

    config = transformers.SegformerConfig(**B0, id2label=dict(enumerate(labels)))
    network = transformers.SegformerForSemanticSegmentation(config)
    state = network.state_dict()
    drawn = trained_like({k: v.shape for k, v in state.items() if v.is_floating_point()})
    network.load_state_dict({**state, **drawn})
    network.save_pretrained(folder)
    processor = transformers.SegformerImageProcessorPil(do_reduce_labels=reduce_labels)
    processor.save_pretrained(folder)


def run(args: argparse.Namespace) -> None:
    """Print the table; the bundle stays in --out."""
    labels = class_names_in(args.data)
    if not labels:
        raise UserError(f"{args.data}: no names of classes; see docs/segmentation.md")
    write_folder(args.out / "network", labels)
    bundle = args.out / "bundle"
    export(
        bundle, network=f"hf:{args.out / 'network'}", data=args.data, size=args.size,
        targets=args.targets,
    )  # fmt: skip
    found = validate(bundle, args.data, limit=args.images)
    rows = [["", "MB", "pixels as float %", "run by"]]
    first = found.models[0].name
    for model in found.models[1:]:
        pair = next(p for p in found.pairs if (p.reference, p.other) == (first, model.name))
        size = "–" if model.bytes is None else f"{model.bytes / 1e6:.2f}"
        rows.append([model.name, size, f"{pair.percent:.2f}", model.runner or ""])
    print("\n".join(aligned(rows)))
    files = {m.name: m for m in found.models if m.file and m.role == "int8"}
    for pair in found.pairs:
        if pair.reference in files and pair.other in files:
            print(f"{pair.reference} and {pair.other}: {pair.percent:.2f} % of the pixels alike")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="images and labels")
    parser.add_argument("--out", type=Path, required=True, help="folder of network and bundle")
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("--images", type=int, default=24, help="how many are compared")
    parser.add_argument(
        "--targets", default=",".join(DEFAULTS), help="runtimes, separated by commas"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(command(run, parse))
