"""How long each language prepares an image, as a share of the same machine's inference.

python -m benchmarks.preprocessing --data /path/to/imagenette --out docs/results

A photograph of 12 megapixels, made by enlarging one of the data's, and a camera's frame, both
decoded already: from there to the network's uint8 pixels. In every round each language does both,
and the bundle's int8 `.tflite` runs on one thread. All must give the same pixels. A language whose
tools are missing has a line with the reason.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.files import where
from benchmarks.measure.machine import machine
from benchmarks.measure.rounds import Round, Timer, take_rounds
from benchmarks.measure.series import Ratio, Spread, per_round, ratio, spread
from benchmarks.preprocessing.entries import EntryTimer, Picture, entries
from benchmarks.reports.checks import AT_MOST, Check
from benchmarks.reports.command import check_timing, command, timing_options
from benchmarks.reports.latency_report import Table, aligned, markdown
from benchmarks.routes.candidates import our_bundle
from mobilemod.data.image_file import read_image
from mobilemod.data.rgb import to_rgb
from mobilemod.errors import UserError
from mobilemod.files import write_text
from mobilemod.manifest import FILE_NAME, Bundle, load_bundle

SCHEMA = "mobilemod/preprocessing/1"
MODEL = "efficientmod_xxs"
INFERENCE = "inference"
RUNS = 5  # inferences in a round beside each picture
# Name, width and height, repeats in a round, the largest share of an inference.
PICTURES = (("photograph", (4032, 3024), 12, 1 / 5), ("camera frame", (640, 480), 60, 1 / 10))


@dataclass(frozen=True)
class Share:
    """A language's times on a picture, and as a share of the inferences of the same rounds."""

    picture: str
    language: str
    times: Spread
    share: Ratio
    asked: float

    @property
    def check(self) -> Check:
        """Asked and measured."""
        return Check(self.picture, "1", INFERENCE, self.asked, AT_MOST, self.share)


def shares(
    rounds: Sequence[Round], pictures: Sequence[Picture], languages: Sequence[str]
) -> list[Share]:
    """Of every picture and language; a round's runs have them by language, and `INFERENCE`."""
    found = []
    for i, picture in enumerate(pictures):
        inference = per_round([r.runs[INFERENCE][i] for r in rounds])
        for language in languages:
            runs = [r.runs[language][i] for r in rounds]
            over = ratio(per_round(runs), inference)
            found.append(Share(picture.name, language, spread(runs), over, picture.asked))
    return found


def check_same(digests: Mapping[str, Mapping[str, str]]) -> None:
    """digests: language -> picture -> of its prepared pixels. `UserError` where languages part."""
    first, *rest = digests
    for picture, digest in digests[first].items():
        others = [language for language in rest if digests[language][picture] != digest]
        if others:
            raise UserError(f"{picture}: {first}'s pixels aren't those of {', '.join(others)}")


def table(found: Sequence[Share]) -> Table:
    """Asked and measured, one line per picture and language."""
    rows = [["picture", "language", "ms", "p10–p90", "min", "× inference", "95 %", "asked", ""]]
    for s in found:
        rows.append([
            s.picture, s.language, f"{s.times.median:.2f}",
            f"{s.times.p10:.2f}–{s.times.p90:.2f}", f"{s.times.min:.2f}",
            f"{s.share.median:.3f}",
            f"{s.share.low:.3f}–{s.share.high:.3f}", s.check.asked, s.check.verdict,
        ])  # fmt: skip
    return rows


def pictures(bundle: Bundle, data: Path, folder: Path) -> list[Picture]:
    """`PICTURES` of one of the data's photographs, raw files in `folder`."""
    path = bundle.read(data, "val").samples[0].path
    photograph = read_image(path, lambda image: to_rgb(image).copy())
    found = []
    for name, size, repeats, asked in PICTURES:
        file = folder / f"{size[0]}x{size[1]}.rgb"
        np.asarray(photograph.resize(size, Image.Resampling.BICUBIC)).tofile(file)
        found.append(Picture(name, *size, repeats, asked, file))
    return found


def int8_tflite(bundle: Bundle) -> Path:
    """The bundle's; `UserError` where it has none."""
    for file in bundle.manifest.files:
        if file.precision == "int8" and file.file.endswith(".tflite"):
            return bundle.file(file.file)
    raise UserError(f"{bundle.folder} has no int8 .tflite; export it for tflite")


def run(args: argparse.Namespace) -> None:
    """Measure, print, and write what was asked for."""
    bundle = load_bundle(args.bundle or our_bundle(MODEL, args.data))
    model = int8_tflite(bundle)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = pictures(bundle, args.data, folder)
        ready, missing = entries([folder, bundle.folder.resolve()])
        manifest = bundle.folder.resolve() / FILE_NAME
        timers = {e.language: EntryTimer(e, given, manifest) for e in ready}
        image = np.zeros((1, *bundle.preprocess.shape), np.float32)
        inference = Timer(1, [model] * len(given), image, RUNS)
        every = {**timers, INFERENCE: inference}
        rounds = take_rounds(every, len(given), args.rounds, 60 * args.patience)
    found = shares(rounds, given, list(timers))
    own = {p.name: spread([r.runs[INFERENCE][i] for r in rounds]) for i, p in enumerate(given)}
    times = (f"{s.median:.2f} ms (min {s.min:.2f}) beside the {n}" for n, s in own.items())
    said = [f"{model.name} on one thread: {', '.join(times)}", where(rounds)]
    said += [f"{language} left out: {why}" for language, why in missing.items()]
    print(aligned(table(found)), *said, sep="\n")
    digests = {language: timer.digests for language, timer in timers.items()}
    check_same(digests)
    print(f"the same pixels from {', '.join(timers)}")
    if args.out:
        text = "\n\n".join(["# Preparing an image", markdown(table(found)), *said]) + "\n"
        write_text(args.out / "preprocessing.md", text)
        facts = {"digests": digests, "missing": missing, "inference": own}
        write_text(args.out / "preprocessing.json", record(found, facts, rounds))


def record(found: Sequence[Share], facts: dict[str, Any], rounds: Sequence[Round]) -> str:
    """The run's JSON text."""
    values = {
        "schema": SCHEMA,
        "machine": machine(),
        "rounds": len(rounds),
        "others_busy_cores": [round(r.others, 3) for r in rounds],
        "inference": {name: asdict(s) for name, s in facts["inference"].items()},
        "shares": [asdict(s) | {"verdict": s.check.verdict} for s in found],
        "sha256": facts["digests"],
        "missing": facts["missing"],
    }
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options, checked; `UserError` for a bad one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    timing_options(parser, 0.0, 1)
    parser.set_defaults(rounds=9)
    parser.add_argument("--bundle", type=Path, help="an export with an int8 .tflite")
    parser.add_argument("--out", type=Path, help="folder for preprocessing.md and .json")
    args = parser.parse_args(argv)
    check_timing(args, ("rounds",))
    return args


if __name__ == "__main__":
    sys.exit(command(run, parse))
