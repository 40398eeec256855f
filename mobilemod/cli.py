"""The command line: `mobilemod VERB …`; every make target is one of these."""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from mobilemod import __version__, ranges
from mobilemod.arguments import Parser
from mobilemod.data.classes import SORTED, ClassNames
from mobilemod.data.dataset import MEASURED, DataSet
from mobilemod.errors import NOT_EVERYWHERE, UserError, shown
from mobilemod.files import irregular, require_writable
from mobilemod.interrupts import SAID, exit_code, raised_signals
from mobilemod.progress import working

EXIT_OK, EXIT_GATE, EXIT_USER, EXIT_INTERNAL, EXIT_UNDECIDED = 0, 1, 2, 3, 4
# What the help lists; their own tables are behind imports that take seconds.
MODEL = "efficientmod_xxs"
VARIANTS = "efficientmod_xxs, efficientmod_xs, efficientmod_s, efficientmod_s_conv"
TARGETS = "executorch,tflite,coreml"
DEVICES = "host, arm64-emulated, adb, iphone, browser"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the exit code.

    0 done, 1 a gate failed, 2 bad input or environment, 3 an error of mobilemod's own, 4 no gate
    failed but one is undecided, 130 and 143 stopped by SIGINT and SIGTERM.
    """
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as stopped:  # argparse's way to end, after its line or the help
        return int(stopped.code or EXIT_OK)
    try:
        _refuse_pipes(args)
        _require_writable(args)
        with raised_signals(), working(f"mobilemod {args.verb}"):
            return args.run(args)
    except UserError as error:
        return _fail(str(error), args.debug)
    except BrokenPipeError:
        # Whoever read the output has enough (`| head`); nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except OSError as error:
        return _fail(_os_error(error), args.debug)
    except KeyboardInterrupt as error:
        return _fail(SAID, args.debug, exit_code(error))
    except ModuleNotFoundError as error:
        message = f"{error.name} isn't installed here: run 'make setup'; {NOT_EVERYWHERE}"
        return _fail(message, args.debug)
    except MemoryError:
        return _fail("not enough memory; close other programs, or take fewer images", args.debug)
    except Exception as error:
        message = f"internal error, {type(error).__name__}: {_first_line(error)}"
        return _fail(f"{message} (--debug shows where)", args.debug, EXIT_INTERNAL)


def _require_writable(args: argparse.Namespace) -> None:
    """What can't be written is said before the work, not after it."""
    if getattr(args, "out", None) is not None:
        require_writable(args.out, "--out", folder=True)
    for option in ("json", "record"):
        path = getattr(args, option, None)
        if path is not None and str(path) != "-":
            require_writable(Path(path), f"--{option}")


def _refuse_pipes(args: argparse.Namespace) -> None:
    """Name what is given as a file and would hang or mislead whoever opens it."""
    given = [
        v for value in vars(args).values() for v in (value if isinstance(value, list) else [value])
    ]
    for path in (v for v in given if isinstance(v, Path)):
        with contextlib.suppress(OSError):
            kind = irregular(path.stat().st_mode)
            if kind and not path.is_relative_to("/dev"):
                raise UserError(f"{shown(path)} is a {kind}, not a file; give the file itself")


def _fail(message: str, debug: bool, code: int = EXIT_USER) -> int:
    if debug:
        raise
    print(f"mobilemod: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _os_error(error: OSError) -> str:
    where = f" at {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"no space left on the disk{where}; free some, or give another --out"
    return f"{error.strerror or error}{where}"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs; imports no heavy package."""
    parser = Parser(
        prog="mobilemod",
        description="EfficientMod from a PyTorch checkpoint to int8 on a phone, measured.",
    )
    parser.add_argument("--version", action="version", version=f"mobilemod {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    p = _verb(verbs, "data", run_data, "fetch Imagenette, the ten-class set that is measured on",
              "mobilemod data --out data/imagenette")  # fmt: skip
    p.add_argument("--out", type=Path, default=Path("data/imagenette"),
                   help="folder to fill; data/imagenette")  # fmt: skip
    p.add_argument("--size", choices=("160", "320", "full"), default="320",
                   help="the images' short side in pixels; 320")  # fmt: skip

    p = _verb(verbs, "train", run_train, "train a network from scratch, or for int8 (--qat)",
              "mobilemod train --data DIR --qat cpu --out runs/qat")  # fmt: skip
    _data_option(p, split=False)
    p.add_argument(
        "--model", metavar="NAME", help=f"{VARIANTS}; {MODEL}, or what the training recipe says"
    )
    p.add_argument(
        "--out", type=Path, default=Path("runs/train"), help="folder of the run; runs/train"
    )
    p.add_argument("--config", type=Path, help="training recipe as JSON")
    p.add_argument("--qat", metavar="RECIPE", help="for int8: cpu, cpu-x86, npu, or a JSON file")
    p.add_argument("--checkpoint", type=Path, help="what --qat starts from; the bundled weights")
    p.add_argument("--steps", type=ranges.STEPS, help="steps of the optimizer (--qat)")
    p.add_argument("--size", type=ranges.PIXELS, help="image size in pixels, 32 to 1024 (--qat)")
    p.add_argument("--phases", metavar="SIZE:EPOCHS,…", help="growing image sizes (from scratch)")
    p.add_argument("--lr", type=ranges.RATE, help="peak learning rate, above 0")
    p.add_argument("--batch-size", type=ranges.IMAGES, help="images per step")
    p.add_argument("--seed", type=ranges.SEED, help="seed of weights, order and augmentation")
    p.add_argument("--device", choices=("cpu", "cuda"), help="the GPU where there is one")
    p.add_argument("--threads", type=ranges.THREADS, help="CPU threads; PyTorch's choice")

    p = _verb(verbs, "export", run_export, "quantize and lower a checkpoint to a bundle",
              "mobilemod export --data DIR --out dist/efficientmod_xxs")  # fmt: skip
    _data_option(p, split=False)
    p.add_argument("--model", default=MODEL, metavar="NAME", help=f"{VARIANTS}; {MODEL}")
    p.add_argument("--checkpoint", type=Path, help="weights; the bundled ones without it")
    p.add_argument("--targets", default=TARGETS, metavar="NAME,…", help=f"some of {TARGETS}; all")
    p.add_argument("--recipe", help="cpu, cpu-x86, npu, or a JSON file; cpu")
    p.add_argument("--prepared", type=Path, metavar="RUN",
                   help="folder of a 'train --qat' run: lower its weights and ranges")  # fmt: skip
    p.add_argument(
        "--size", type=ranges.PIXELS, default=224, help="image size, 32 to 1024 pixels; 224"
    )
    p.add_argument("--author", default="", metavar="TEXT",
                   help="of the weights, for the files' metadata; the checkpoint's")  # fmt: skip
    p.add_argument("--license", default="", metavar="SPDX",
                   help="of the weights, for the files' metadata; the checkpoint's")  # fmt: skip
    p.add_argument("--skip-check", action="store_true", help="leave out Core ML's op-by-op check")
    p.add_argument("--out", type=Path, default=Path("dist/efficientmod_xxs"),
                   help="the bundle; dist/efficientmod_xxs")  # fmt: skip

    p = _verb(verbs, "validate", run_validate, "accuracy drop and agreement of a bundle's files",
              "mobilemod validate dist/efficientmod_xxs --data DIR")  # fmt: skip
    p.add_argument("bundle", type=Path, help="folder that export wrote")
    p.add_argument("--files", metavar="NAME,…", help="only these model files (--device)")
    _data_option(p)
    p.add_argument("--limit", type=ranges.IMAGES, metavar="N",
                   help="at most so many images, spread over the classes; all")  # fmt: skip
    p.add_argument("--device", metavar="KIND[:ID][,…]",
                   help=f"on devices: {DEVICES}")  # fmt: skip
    _device_options(p, " (--device)")

    p = _verb(verbs, "harness", run_harness, "measure on any phone's browser, nothing installed",
              "mobilemod harness serve dist/efficientmod_xxs --data DIR --limit 200")  # fmt: skip
    p.add_argument("action", choices=("serve",), help="show an address and a QR code to open")
    p.add_argument("bundle", type=Path, help="folder that export wrote")
    _data_option(p)
    p.add_argument("--limit", type=ranges.IMAGES, metavar="N",
                   help="at most so many images, spread over the classes; all")  # fmt: skip
    p.add_argument("--host", default="0.0.0.0", help="address to listen on; 0.0.0.0, every one")
    p.add_argument("--port", type=ranges.PORT, default=8765, help="port to listen on; 8765")
    _device_options(p, "")

    p = _verb(verbs, "apps", run_apps, "put a bundle into the sample apps",
              "mobilemod apps dist/efficientmod_xxs --apps web,android,ios")  # fmt: skip
    p.add_argument("bundle", type=Path, help="folder that export wrote")
    p.add_argument("--apps", default="web,android,ios", help="by commas; web,android,ios")

    p = _verb(verbs, "stress", run_stress, "accuracy drop of int8 on corrupted images",
              "mobilemod stress dist/efficientmod_xxs --data DIR --images 500")  # fmt: skip
    p.add_argument("bundle", type=Path, help="folder that export wrote")
    _data_option(p)
    p.add_argument("--images", type=ranges.IMAGES, default=500, metavar="N",
                   help="how many, spread over the classes; 500")  # fmt: skip
    p.add_argument("--targets", help="runtimes, by commas; all that the bundle holds")
    p.add_argument("--max-mean-drop", type=ranges.POINTS, default=0.7, metavar="POINTS",
                   help="of top-1 that an int8 file may lose in the mean; 0.7")  # fmt: skip

    p = _verb(verbs, "inspect", run_inspect, "what is int8 in a .pte, .tflite or .mlpackage",
              "mobilemod inspect dist/efficientmod_xxs/efficientmod_xxs_int8.tflite")  # fmt: skip
    p.add_argument("file", type=Path, nargs="+", help="model files")

    p = _verb(verbs, "profile", run_profile, "where a .pte's or .tflite's time goes, op by op",
              "mobilemod profile dist/efficientmod_xxs/efficientmod_xxs_int8.tflite")  # fmt: skip
    p.add_argument("file", type=Path, help="model file")
    p.add_argument("--threads", type=ranges.THREADS, default=1, help="CPU threads; 1")
    p.add_argument("--rounds", type=ranges.RUNS, default=5, help="measurements of each op; 5")

    p = _verb(verbs, "diff", run_diff, "where two model files part on an image, and why",
              "mobilemod diff int8.pte int8.mlpackage --image photo.jpg")  # fmt: skip
    p.add_argument("a", type=Path, help="model file: .pte, .tflite or .mlpackage")
    p.add_argument("b", type=Path, help="another one of the same network, or the word program")
    p.add_argument("--image", type=Path, action="append", default=[], metavar="FILE",
                   help="image file; may be given several times")  # fmt: skip
    p.add_argument("--bundle", type=Path, help="bundle that the files come from; else beside them")
    p.add_argument("--all", action="store_true", help="print tensors that don't differ too")
    p.add_argument("--exact", action="store_true", help="compare every op with its exact result")

    p = _verb(verbs, "sensitivity", run_sensitivity, "which layer costs accuracy in int8",
              "mobilemod sensitivity dist/efficientmod_xxs --data DIR")  # fmt: skip
    p.add_argument("bundle", type=Path, help="folder that export wrote")
    _data_option(p)
    p.add_argument("--form", choices=("xnnpack", "coreml"), help="the first that the bundle holds")
    p.add_argument("--recipe", help="cpu, cpu-x86, npu, or a JSON file; the bundle's")
    p.add_argument("--by", default="module", choices=("module", "tensor"), help="module")
    p.add_argument("--images", type=ranges.IMAGES, default=64, metavar="N",
                   help="how many, spread over the classes; 64")  # fmt: skip
    p.add_argument("--out", type=Path, help="folder of page and record (BUNDLE/sensitivity)")

    p = _verb(verbs, "search", run_search, "which modules to leave float, for the least time",
              "mobilemod search dist/efficientmod_xxs --data DIR --max-drop 0.3")  # fmt: skip
    p.add_argument("bundle", type=Path, help="folder that export wrote")
    _data_option(p)
    p.add_argument("--max-drop", type=ranges.POINTS, default=0.5, metavar="POINTS",
                   help="of top-1 that may be lost; 0.5")  # fmt: skip
    p.add_argument("--target", help="runtime that it is for; tflite, else executorch, else coreml")
    p.add_argument("--cost", choices=("ms", "macs"),
                   help="ms, measured here, or macs (all there is for coreml); ms")  # fmt: skip
    p.add_argument("--profile", metavar="INT8.json,FLOAT.json",
                   help="times from 'mobilemod profile --json', instead of measuring")  # fmt: skip
    p.add_argument(
        "--images", type=ranges.IMAGES, default=256, help="training images that guide; 256"
    )
    p.add_argument("--limit", type=ranges.IMAGES, help="at most so many validation images; all")
    p.add_argument("--out", type=Path, help="folder of recipe, page and record (BUNDLE/search)")

    p = _verb(verbs, "report", run_report, "print a bundle's results as a table",
              "mobilemod report dist/efficientmod_xxs")  # fmt: skip
    p.add_argument("bundle", type=Path, help="folder that validate measured")

    p = _verb(verbs, "arm64", run_arm64, "set up an emulated ARM64 processor in a folder",
              "mobilemod arm64 --out .arm64")  # fmt: skip
    p.add_argument("--out", type=Path, help="folder to fill (MOBILEMOD_ARM64, else .arm64)")
    p.add_argument("--executorch", action="store_true", help="also for .pte files, 160 MB more")

    p = _verb(verbs, "bench", run_bench, "measure a bundle's files, or one file, on a device",
              "mobilemod bench dist/efficientmod_xxs --device host")  # fmt: skip
    p.add_argument("path", type=Path, help="folder that export wrote, or one model file")
    p.add_argument("--device", default="host", help="host, arm64-emulated, mac, iphone; host")
    p.add_argument("--threads", type=ranges.THREADS, default=1, help="CPU threads (host); 1")
    p.add_argument("--runs", type=ranges.RUNS, default=50, help="timed runs of each file; 50")
    p.add_argument("--record", type=Path, help="write the instruction counts to compare with later")
    p.add_argument("--against", type=Path, help="fail where counts rose over those recorded here")
    p.add_argument("--max-rise", type=ranges.PERCENT, default=3.0, metavar="PERCENT",
                   help="by which counts may rise; 3")  # fmt: skip
    p.add_argument("--team", help="Apple development team that signs the app (iphone)")
    p.add_argument("--udid", help="which of several phones (iphone)")
    return parser


def _verb(verbs, name: str, run: Callable, summary: str, example: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example: {example}",
    )
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON (- for stdout)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=run)
    return parser


def _device_options(p: argparse.ArgumentParser, where: str) -> None:
    """What is measured on a device, and what it is held to."""
    p.add_argument("--audit-only", action="store_true",
                   help="without images: no accuracy; what was measured before stays")  # fmt: skip
    p.add_argument("--max-drop", type=ranges.POINTS, metavar="POINTS",
                   help="of top-1 that an int8 file may lose; 0.5")  # fmt: skip
    p.add_argument("--max-upper", type=ranges.UPPER, metavar="POINTS",
                   help="the upper end of the drop's 95 %% interval, above 0; 1")  # fmt: skip
    p.add_argument("--min-agreement", type=ranges.PERCENT, metavar="PERCENT",
                   help="of int8 pairs, or of a device and the host; 99")  # fmt: skip
    p.add_argument("--gates", type=Path, help=f"limits as TOML{where}")
    p.add_argument("--threads", type=ranges.THREADS.list, metavar="N,…",
                   help=f"CPU threads to measure with, by commas{where}; 1")  # fmt: skip
    p.add_argument("--sustained", type=ranges.SECONDS, metavar="SECONDS",
                   help=f"also run each file so long without pause{where}")  # fmt: skip
    p.add_argument("--quick", action="store_true",
                   help=f"few timed runs, to see that it works{where}")  # fmt: skip


def _data_option(parser: argparse.ArgumentParser, split: bool = True) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("MOBILEMOD_DATA") or None,
        help="folder with train/ and val/, one folder per class (or MOBILEMOD_DATA)",
    )
    parser.add_argument("--classes", metavar="FILE",
                        help="which class each folder is, where its name doesn't say it: JSON or "
                        f"lines of folder,class; or '{SORTED}'")  # fmt: skip
    if split:
        parser.add_argument("--split", metavar="NAME", help="folder of --data to measure; val")


def _data(args: argparse.Namespace) -> DataSet | None:
    if not args.data:
        for option in ("split", "classes"):
            if getattr(args, option, None):
                raise UserError(f"--{option} goes with --data")
        return None
    given = getattr(args, "classes", None)
    classes = ClassNames.read(given) if given else None
    return DataSet(Path(args.data), getattr(args, "split", None) or MEASURED, classes)


def emit(args: argparse.Namespace, record: dict[str, Any], text: str) -> None:
    """Write the record where --json says, and the text to stdout unless the JSON goes there."""
    from mobilemod.files import write_json

    if args.json == "-":
        json.dump(record, sys.stdout, indent=1, ensure_ascii=False)
        print()
        return
    if args.json:
        write_json(Path(args.json), record)
    print(text)


def run_data(args: argparse.Namespace) -> int:
    from mobilemod.data.fetch import fetch_imagenette
    from mobilemod.data.imagefolder import read_folder

    root = fetch_imagenette(args.out, args.size)
    counts = {s: len(read_folder(root / s).samples) for s in ("train", "val")}
    record = {"schema": "mobilemod/data/1", "folder": str(root), "images": counts}
    emit(args, record, f"{root}: {counts['train']} training and {counts['val']} validation images")
    return EXIT_OK


def run_train(args: argparse.Namespace) -> int:
    from mobilemod.training.run import train_and_save

    if args.qat is not None:
        return _run_qat(args)
    _refuse(args, ("checkpoint", "steps", "size", "classes"), "goes with --qat")
    overrides = _given(args, ("model", "lr", "batch_size", "seed", "phases"))
    record = train_and_save(
        _required_data(args).root, args.out, args.config, overrides, args.device, args.threads
    )
    emit(args, record, f"{record['checkpoint']}: top-1 {record['top1_percent']:.2f} % at 224")
    return EXIT_OK


def _run_qat(args: argparse.Namespace) -> int:
    from export.source import open_source
    from quantization.qat.config import make_qat_config
    from quantization.qat.report import text
    from quantization.qat.run import FloatNetwork, QatJob, train_prepared

    _refuse(args, ("phases",), "doesn't go with --qat, which takes --steps and --size")
    overrides = _given(args, ("steps", "size", "lr", "batch_size", "seed"))
    config, data = make_qat_config(args.config, overrides), _required_data(args)
    source = open_source(args.model or "efficientmod_xxs", args.checkpoint, data)
    floating = FloatNetwork(
        source.variant,
        source.num_classes,
        source.state,
        source.label_ids,
        source.checkpoint.name,
    )
    job = QatJob(floating, args.qat, data, args.out, config, args.device, args.threads)
    record = train_prepared(job)
    lower = f"lower it: mobilemod export --prepared {args.out}"
    emit(args, record, f"{source.summary}\n{text(record)}\n{lower}")
    return EXIT_OK


def _given(args: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    return {k: getattr(args, k) for k in names if getattr(args, k) is not None}


def _refuse(args: argparse.Namespace, names: Sequence[str], why: str) -> None:
    for name in _given(args, names):
        raise UserError(f"--{name} {why}")


def _required_data(args: argparse.Namespace) -> DataSet:
    data = _data(args)
    if data is None:
        raise UserError("no images: give --data DIR (DATA=… with make), or run 'make data'")
    return data


def run_export(args: argparse.Namespace) -> int:
    from export.bundle import ExportConfig, export_bundle

    config = ExportConfig(
        model=args.model,
        out=args.out,
        checkpoint=args.checkpoint,
        data=_data(args),
        targets=tuple(t for t in args.targets.split(",") if t),
        recipe=args.recipe,
        size=args.size,
        check=not args.skip_check,
        trained=args.prepared,
        author=args.author,
        license=args.license,
    )
    record = export_bundle(config)
    lines = [f"bundle {record['bundle']} in {record['seconds']:.0f} s"]
    for f in record["files"]:
        share = f"{f['audit']['int8_share']:.1%} int8 MACs" if f["precision"] == "int8" else ""
        how = "from cache" if f["cached"] else f"{f['seconds']:.0f} s, peak {f['peak_mb']} MB"
        lines.append(f"  {f['file']:<36} {f['bytes'] / 1e6:6.2f} MB  {how:<24} {share}")
    lines.append(record["checkpoint"])
    lines.append(f"calibrated from {record['calibration']}; accuracy not measured yet: "
                 f"mobilemod validate {record['bundle']} --data DIR")  # fmt: skip
    emit(args, record, "\n".join(lines))
    return EXIT_OK


def run_validate(args: argparse.Namespace) -> int:
    from export.measure.validation import measured_before, validate_bundle
    from mobilemod.results.gates import Gates
    from mobilemod.results.table import text_table

    if args.device is not None:
        return _run_validate_devices(args)
    _refuse(args, ("gates", "threads", "sustained", "files"), "goes with --device")
    limits = _given(args, ("max_drop", "max_upper", "min_agreement"))
    gates = Gates(**limits, sample=args.limit is not None)
    data = None if args.audit_only else _data(args)
    if data is None and not args.audit_only:
        raise UserError(
            "no images to measure on: give --data DIR (DATA=… with make), or --audit-only"
        )
    record, verdicts = validate_bundle(args.bundle, data, gates, args.limit)
    report = args.bundle / "report" / "report.html"
    lines = [text_table(record), *(v.line for v in verdicts), f"report: {report}"]
    if not record["measured"]:
        lines.append("accuracy was not measured: no images were given (--data DIR)")
        if measured_before(args.bundle):
            lines.append("the report is still that of the last measurement, left as it was")
    emit(args, record, "\n".join(lines))
    return _gates_code(v.to_dict() for v in verdicts)


def _gates_code(verdicts: Iterable[dict[str, Any]]) -> int:
    from mobilemod.results.verdict import overall

    return _code_of(overall(list(verdicts)))


def _code_of(state: str) -> int:
    """The exit code of a verdict, the same for every verb that has gates."""
    return {"pass": EXIT_OK, "fail": EXIT_GATE, "undecided": EXIT_UNDECIDED}[state]


def _run_validate_devices(args: argparse.Namespace) -> int:
    from export.measure.device_host import BundleHost
    from mobilemod.harness.run.validate import validate_devices
    from mobilemod.results.device.table import text_table

    config = _device_config(args, tuple(d for d in args.device.split(",") if d))
    records, report = validate_devices(config, BundleHost)
    lines = [text for record in records for text in (text_table(record), "")]
    if config.images is None:
        lines.append("accuracy was not measured: no images were given (--data DIR)")
    emit(args, {"schema": "mobilemod/harness-records/1", "records": records},
         "\n".join([*lines, f"report: {report}"]))  # fmt: skip
    return _gates_code(v for record in records for v in record["verdicts"])


def _device_config(args: argparse.Namespace, devices: tuple[str, ...]) -> Any:
    """The `DeviceConfig` of options that `validate --device` and `harness serve` share."""
    from dataclasses import replace

    from export.bundle_parts import load_calibrated
    from export.measure.validation import read_validation_images
    from mobilemod.harness.record.gates import DeviceGates
    from mobilemod.harness.run.job_build import Plan
    from mobilemod.harness.run.validate import QUICK, DeviceConfig
    from mobilemod.manifest import load_bundle

    gates = DeviceGates.read(args.gates) if args.gates else DeviceGates()
    gates = replace(gates, **_given(args, ("max_drop", "max_upper", "min_agreement")))
    plan = Plan(threads=args.threads or (1,))
    if args.quick:
        plan = replace(plan, latency=QUICK)
    if getattr(args, "files", None):
        plan = replace(plan, files=tuple(args.files.split(",")))
    plan = replace(plan, sustained_seconds=args.sustained or 0)
    data, images, about = None if args.audit_only else _data(args), None, None
    if data is not None:
        bundle = load_bundle(args.bundle, verify=False)
        images = read_validation_images(bundle, data, args.limit)
        about = images.about(load_calibrated(bundle))
    elif not args.audit_only:
        raise UserError(
            "no images: give --data DIR (DATA=… with make), or --audit-only to measure latency and "
            "run the self-test alone"
        )
    sample = args.limit is not None
    return DeviceConfig(args.bundle, devices, images, sample, plan, gates, about)


def run_harness(args: argparse.Namespace) -> int:
    from export.measure.device_host import BundleHost
    from mobilemod.harness.run.browsers import ServeConfig, serve_browsers
    from mobilemod.results.device.table import text_table

    config = ServeConfig(
        devices=_device_config(args, ("browser",)),
        host=args.host,
        port=args.port,
        tell=lambda record: print(text_table(record), file=sys.stderr, flush=True),
    )
    records = serve_browsers(config, BundleHost)
    lines = [f"{len(records)} browsers measured"]
    if records:
        lines.append(f"report: {args.bundle / 'devices' / 'report.html'}")
    emit(args, {"schema": "mobilemod/harness-records/1", "records": records}, "\n".join(lines))
    return _gates_code(v for record in records for v in record["verdicts"])


def run_apps(args: argparse.Namespace) -> int:
    from mobilemod.apps import put_in_apps

    record = put_in_apps(args.bundle, tuple(a for a in args.apps.split(",") if a))
    lines = [f"{e['app']}: {e['folder']}, {len(e['files'])} model files" for e in record["apps"]]
    emit(args, record, "\n".join(lines))
    return EXIT_OK


def run_stress(args: argparse.Namespace) -> int:
    from export.measure.stress import STRESS_FILE, StressConfig, stress_bundle
    from mobilemod.results.stress.table import text_table

    config = StressConfig(
        bundle=args.bundle,
        data=_required_data(args),
        images=args.images,
        targets=None if args.targets is None else tuple(t for t in args.targets.split(",") if t),
        max_mean_drop=args.max_mean_drop,
    )
    record, verdicts = stress_bundle(config)
    lines = [text_table(record), "", *(v.line for v in verdicts)]
    emit(args, record, "\n".join([*lines, f"record: {args.bundle / STRESS_FILE}"]))
    return _gates_code(v.to_dict() for v in verdicts)


def run_inspect(args: argparse.Namespace) -> int:
    from export.audit import SCHEMA, inspect_file
    from export.audit_text import format_audit

    audits, errors = [], []
    for path in args.file:
        try:
            audits.append(inspect_file(path))
        except (UserError, OSError) as error:
            if args.debug:
                raise
            told = _os_error(error) if isinstance(error, OSError) else str(error)
            errors.append({"file": str(path), "error": told})
    record = {"schema": SCHEMA, "files": [a.to_dict() for a in audits], "errors": errors}
    if audits or args.json:
        emit(args, record, "\n".join(format_audit(a) for a in audits))
    for error in errors:
        _fail(error["error"], debug=False)
    return EXIT_USER if errors else EXIT_OK


def run_profile(args: argparse.Namespace) -> int:
    from export.measure.profiling import format_profile, profile_file
    from export.targets.isolated import IsolatedError, call_unlimited

    try:
        call = (lambda f, *a: f(*a)) if args.debug else call_unlimited
        profile = call(profile_file, args.file, args.threads, args.rounds)
    except IsolatedError as error:
        raise UserError(f"{args.file}: not supported: its runtime {error}") from None
    emit(args, profile.to_dict(), format_profile(profile))
    return EXIT_OK


def run_diff(args: argparse.Namespace) -> int:
    from export.diff.compare import DiffConfig, diff_files
    from mobilemod.results.diff.text import text

    config = DiffConfig(args.a, args.b, tuple(args.image), args.bundle, args.exact)
    record = diff_files(config)
    emit(args, record, text(record, args.all))
    return EXIT_OK


def run_sensitivity(args: argparse.Namespace) -> int:
    from export.measure.sensitivity import SensitivityConfig, measure_bundle
    from mobilemod.results.sensitivity.table import text_table

    config = SensitivityConfig(
        bundle=args.bundle,
        data=_required_data(args),
        form=args.form,
        recipe=args.recipe,
        by=args.by,
        images=args.images,
        out=args.out,
    )
    record, page = measure_bundle(config)
    emit(args, record, f"{text_table(record)}\npage: {page}")
    return EXIT_OK


def run_search(args: argparse.Namespace) -> int:
    from export.measure.search import SearchConfig, search_bundle
    from mobilemod.results.search.table import text_table

    config = SearchConfig(
        bundle=args.bundle,
        data=_required_data(args),
        max_drop=args.max_drop,
        target=args.target,
        cost=args.cost,
        profiles=tuple(Path(p) for p in args.profile.split(",")) if args.profile else (),
        images=args.images,
        limit=args.limit,
        out=args.out,
    )
    record, page = search_bundle(config)
    lines = [text_table(record), f"page: {page}"]
    if record["met"]:
        lines.append(f"recipe: {page.with_name(record['file'])}")
    emit(args, record, "\n".join(lines))
    return _code_of(record["state"])


def run_report(args: argparse.Namespace) -> int:
    from export.measure.validation import load_record
    from mobilemod.results.table import text_table

    record = load_record(args.bundle)
    emit(args, record, text_table(record))
    return EXIT_OK


def run_arm64(args: argparse.Namespace) -> int:
    from mobilemod.harness.arm64.emulator import default_folder
    from mobilemod.harness.arm64.install import set_up

    folder = args.out or default_folder()
    stamp = set_up(folder, args.executorch)
    runtimes = [w for w in stamp["wheels"] if w.startswith(("ai-edge-litert", "executorch"))]
    text = f"{folder}: emulated {stamp['cpu']}, {', '.join(runtimes)}"
    emit(args, {**stamp, "folder": str(folder)}, text)
    return EXIT_OK


def run_bench(args: argparse.Namespace) -> int:
    from mobilemod.harness.bench.bench import bench, text
    from mobilemod.harness.bench.instructions import read_baseline, write_baseline

    counts = args.record or args.against
    if counts and args.device != "arm64-emulated":
        raise UserError("--record and --against are for --device arm64-emulated")
    baseline = read_baseline(args.against) if args.against else None
    apple = {"team": args.team, "udid": args.udid}
    record, verdicts = bench(
        args.path,
        args.device,
        _load_quietly,
        args.threads,
        args.runs,
        apple,
        baseline,
        args.max_rise,
    )
    if args.record:
        write_baseline(record, args.record)
    emit(args, record, text(record, verdicts))
    return _gates_code(v.to_dict() for v in verdicts)


def _load_quietly(path: Path, threads: int) -> Any:
    from export.quiet import quiet
    from export.targets.base import backend_for

    with quiet():
        return backend_for(path).load(path, threads)


if __name__ == "__main__":
    sys.exit(main())
