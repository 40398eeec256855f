"""`mobilemod predict` runs files of a bundle on images."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.verbs.options import EXIT_OK, EXIT_USER, emit, fail, listed
from mobilemod import ranges

SUMMARY = "what a model file, or all of a bundle, answers on images"
EXAMPLE = "mobilemod predict dist/efficientmod_xxs photo.jpg --all"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    p.add_argument("model", type=Path, help="bundle, of which the file that serves best here is "
                   "run, or a model file in its bundle")  # fmt: skip
    p.add_argument("image", type=Path, nargs="+", help="image files, or folders of them")
    which = p.add_mutually_exclusive_group()
    which.add_argument("--files", metavar="NAME,…", help="these files of the bundle, side by side")
    which.add_argument("--all", action="store_true",
                       help="every file of the bundle that runs here, side by side")  # fmt: skip
    p.add_argument("--top", type=ranges.CLASSES, default=5, metavar="N", help="classes to tell; 5")
    p.add_argument("--threads", type=ranges.THREADS, default=1, metavar="N", help="CPU threads; 1")
    p.add_argument("--out", type=Path, metavar="DIR",
                   help="folder for pictures of maps over their images")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from export.predicting.comparing import open_models, predict_images, predictions_text
    from export.predicting.pictures import images_in

    images = images_in(args.image)
    models = open_models(args.model, listed(args.files or ""), args.all, args.threads)
    record = predict_images(models, images, args.top, args.out, strict=args.debug)
    if record["images"] or args.json:
        emit(args, record, predictions_text(record, args.top))
    for error in record["errors"]:
        fail(error["error"], debug=False)
    return EXIT_USER if record["errors"] else EXIT_OK
