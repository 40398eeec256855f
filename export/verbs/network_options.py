"""The options that say which network a verb takes: one of ours, or one that a user brings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from export.api.exporting import MODEL
from export.api.opening import TOLD, open_network
from export.verbs.options import VARIANTS, given
from mobilemod import ranges

if TYPE_CHECKING:
    from mobilemod.data.preprocess import Size
    from mobilemod.networks.foreign.opened import Opened


def network_options(p: argparse.ArgumentParser) -> None:
    """--model, --network, and what goes with them."""
    p.add_argument("--model", metavar="NAME", help=f"{VARIANTS}; {MODEL}")
    p.add_argument("--network", metavar="WHAT",
                   help="another network: package.module:function, or hf:DIR")  # fmt: skip
    p.add_argument("--checkpoint", type=Path,
                   help="weights; without it the bundled ones, or the function's own")  # fmt: skip
    p.add_argument("--size", type=size, metavar="HxW",
                   help=f"image size, {ranges.SIDE.low} to {ranges.SIDE.high} pixels a side, 224 "
                   "or 192x256; the network's own, else 224")  # fmt: skip
    p.add_argument(
        "--mean", type=numbers, metavar="R,G,B", help="of --network's images; ImageNet's"
    )
    p.add_argument("--std", type=numbers, metavar="R,G,B", help="of --network's images; ImageNet's")
    p.add_argument(
        "--crop-fraction",
        type=float,
        metavar="PART",
        help="of an image that --network sees; 0.9, or 1 where --fit isn't crop",
    )
    p.add_argument("--interpolation", metavar="NAME",
                   help="of --network's images: nearest, bilinear, bicubic; bicubic")  # fmt: skip
    p.add_argument(
        "--fit",
        metavar="HOW",
        help="crop, stretch or letterbox images; the network's own, else crop",
    )
    p.add_argument("--labels", type=Path, metavar="FILE",
                   help="names of --network's outputs: a line each, or a JSON list")  # fmt: skip


def size(text: str) -> Size:
    """Pixels of "224", "224x224" or "192x256", as argparse's `type`."""
    height, x, width = text.lower().partition("x")
    sides = ranges.SIDE(height), ranges.SIDE(width if x else height)
    return sides[0] if sides[0] == sides[1] else sides


def numbers(text: str) -> tuple[float, ...]:
    """Numbers by commas, as argparse's `type`."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: give numbers by commas") from None


def opened_of(args: argparse.Namespace) -> Opened | None:
    """The network of --network, None where it isn't given.

    `UserError` for options that don't go together and for a network that can't be opened.
    """
    return open_network(
        args.network, args.model, args.checkpoint, **given(args, ("size", "fit", *TOLD))
    )
