"""Files as a job that any driver runs, whether or not they lie in a bundle.

Its manifest says how images are preprocessed; its one golden image is the test card, which is what
is timed.
"""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image

from mobilemod.evaluation.runs import MOST_CLASSES
from mobilemod.files import file_sha256, write_json
from mobilemod.harness.bench.files import Found
from mobilemod.harness.drivers import Driver
from mobilemod.harness.protocol.job import (
    MANIFEST_FILE,
    Configuration,
    Hashed,
    Inputs,
    Job,
    JobFile,
    LatencyPlan,
)
from mobilemod.harness.protocol.job_folder import JobFolder, plain_files
from mobilemod.harness.protocol.lines import MAX_LINE
from mobilemod.harness.run.job_build import copy_into, fits_line, in_pairs, write_job
from mobilemod.manifest import SCHEMA
from mobilemod.targets import facts_of_file, suffix_of

CARD_FILE = "golden/card.png"
WARM_UPS = 3
# A line has room for so many outputs as text; the card of a network with more can't be golden, and
# its files are timed on a grey image.
MOST_OUTPUTS = MAX_LINE // 32


def build(
    found: Found, shape: tuple[int, ...], threads: int, runs: int, driver: Driver, folder: Path
) -> JobFolder:
    """A job in `folder` that times each file for exactly `runs` runs after a few more, an int8 file
    in turns with its float twin; without any time where the driver's mean nothing.

    shape: of the network's outputs, (K,), or (K, h, w) of maps.
    """
    (folder / "golden").mkdir(parents=True)
    write_json(folder / MANIFEST_FILE, _manifest(found, shape))
    golden: tuple[Hashed, ...] = ()
    outputs, pixels = math.prod(shape), math.prod(shape[1:])
    if fits_line(pixels, shape[0]) if of_maps(shape) else outputs <= MOST_OUTPUTS:
        Image.fromarray(found.card).save(folder / CARD_FILE)
        golden = (_hashed(folder, CARD_FILE),)
    files = in_pairs(
        JobFile(
            name=file.path.name,
            path=copy_into(folder, file.path, path, file.sha256).path,
            sha256=file.sha256,
            bytes=sum(p.stat().st_size for p in plain_files(folder / path)),
            target=facts_of_file(file.path).name,
            precision=file.precision or "unknown",
        )
        for file, path in (
            # A user's file may have a name that no job's path can have.
            (file, f"models/{number}{suffix_of(file.path)}")
            for number, file in enumerate(found.files)
        )
    )
    latency = LatencyPlan(warm_up_seconds=0, warm_up_max=WARM_UPS, min_runs=runs, min_seconds=0)
    job = Job(
        id="",
        model=found.model or files[0].name,
        manifest=_hashed(folder, MANIFEST_FILE),
        files=files,
        inputs=Inputs("images", 0, ()),
        golden=golden,
        configurations=tuple(
            Configuration(f.name, threads, driver.delegates(f.target)[0]) for f in files
        ),
        accuracy=False,
        latency=latency if driver.latency else None,
    )
    return write_job(job, folder)


def of_maps(shape: tuple[int, ...]) -> bool:
    """Whether outputs of this shape are maps of classes."""
    return len(shape) == 3 and 2 <= shape[0] <= MOST_CLASSES


def _manifest(found: Found, shape: tuple[int, ...]) -> dict:
    """What runners read of a bundle's manifest."""
    maps = of_maps(shape)
    count = shape[0] if maps else math.prod(shape)
    numbers = [{"id": str(i), "label": str(i)} for i in range(count)]
    labels = [v.model_dump() for v in found.bundle.manifest.labels] if found.bundle else numbers
    return {
        "schema": SCHEMA,
        "model": found.model or "",
        "num_classes": len(labels),
        **({"map": list(shape[1:])} if maps else {}),
        "labels": labels,
        "preprocess": found.preprocess.to_dict(),
        "recipe": {},
        "tools": {},
        "files": [],
        "golden": [],
    }


def _hashed(folder: Path, name: str) -> Hashed:
    return Hashed(name, file_sha256(folder / name))
