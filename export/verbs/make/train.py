"""`mobilemod train` trains a network, from scratch or for int8."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.api.exporting import MODEL
from export.verbs.options import (
    EXIT_OK,
    VARIANTS,
    data_option,
    emit,
    given,
    refuse,
    required_data,
)
from mobilemod import ranges
from mobilemod.errors import UserError
from mobilemod.machine.sharing import lower_priority
from mobilemod.networks import registry

SUMMARY = "train a network, or for int8 (--qat)"
EXAMPLE = "mobilemod train --data DIR --qat cpu --out runs/qat"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    data_option(p, split=False)
    p.add_argument(
        "--model", metavar="NAME", help=f"{VARIANTS}; {MODEL}, or what the training recipe says"
    )
    p.add_argument(
        "--out", type=Path, default=Path("runs/train"), help="folder of the run; runs/train"
    )
    p.add_argument("--config", type=Path, help="training recipe as JSON")
    p.add_argument("--qat", metavar="RECIPE", help="for int8: cpu, cpu-x86, npu, or a JSON file")
    p.add_argument(
        "--checkpoint",
        type=Path,
        help="what it starts from. A classifier: fine-tuned, its head anew where the classes are "
        "others; without it from scratch. A segmentation network: its own weights, or those of "
        "the classifier that it stands on; the bundled ones of that. --qat: the bundled weights",
    )
    p.add_argument(
        "--frozen",
        action="store_const",
        const=True,
        help="train the head alone (segmentation: neck and head)",
    )
    p.add_argument(
        "--teacher", type=Path, help="a larger network of these classes to learn answers from"
    )
    p.add_argument("--steps", type=ranges.STEPS, help="steps of the optimizer (--qat)")
    p.add_argument("--size", type=ranges.PIXELS, help="image size in pixels, 32 to 1024 (--qat)")
    p.add_argument("--phases", metavar="SIZE:EPOCHS,…", help="growing image sizes (without --qat)")
    p.add_argument("--lr", type=ranges.RATE, help="peak learning rate, above 0")
    p.add_argument("--batch-size", type=ranges.IMAGES, help="images per step")
    p.add_argument("--seed", type=ranges.SEED, help="seed of weights, order and augmentation")
    p.add_argument("--device", choices=("cpu", "cuda"), help="the GPU where there is one")
    p.add_argument("--threads", type=ranges.THREADS, help="CPU threads; PyTorch's choice")
    p.add_argument(
        "--nice", type=ranges.NICE, help="leave the processor to others, 0 to 19 (most); 0"
    )


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    registry.module_of(args.model or MODEL)
    if args.nice:
        lower_priority(args.nice)
    from mobilemod.tasks import task_of
    from mobilemod.training.run import train_and_save

    if args.qat is not None:
        return _run_qat(args)
    refuse(args, ("steps", "size", "classes"), "goes with --qat")
    paths = {k: str(v) for k, v in given(args, ("checkpoint", "teacher")).items()}
    overrides = given(args, ("model", "lr", "batch_size", "seed", "phases", "frozen")) | paths
    record = train_and_save(
        required_data(args).root, args.out, args.config, overrides, args.device, args.threads
    )
    if record is None:
        return EXIT_OK
    metric = task_of(record).metric
    found = f"{metric.name} {metric.text(record[metric.key])} {metric.unit}"
    emit(args, record, f"{record['checkpoint']}: {found} at {record['size']}")
    return EXIT_OK


def _run_qat(args: argparse.Namespace) -> int:
    from export.source import open_source
    from quantization.qat.config import make_qat_config
    from quantization.qat.report import text
    from quantization.qat.run import FloatNetwork, QatJob, train_prepared

    refuse(
        args,
        ("phases", "frozen", "teacher"),
        "doesn't go with --qat, which takes --steps and --size",
    )
    overrides = given(args, ("steps", "size", "lr", "batch_size", "seed"))
    config, data = make_qat_config(args.config, overrides), required_data(args)
    source = open_source(args.model or MODEL, args.checkpoint, data)
    if not source.task.class_folders:
        raise UserError(
            f"{source.name} is for {source.task.name}: --qat trains on class labels alone; "
            "export it without --prepared"
        )
    floating = FloatNetwork(
        source.name,
        source.num_classes,
        source.module.state_dict(),
        source.label_ids,
        source.checkpoint.name,
    )
    job = QatJob(floating, args.qat, data, args.out, config, args.device, args.threads)
    record = train_prepared(job)
    lower = f"lower it: mobilemod export --prepared {args.out}"
    emit(args, record, f"{source.summary}\n{text(record)}\n{lower}")
    return EXIT_OK
