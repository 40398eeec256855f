"""Files as a job that any driver runs, whether or not they lie in a bundle.

Its manifest says how images are preprocessed; its one golden image is the test card, which is what
is timed.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

from mobilemod.evaluation.runs import CLASSES, MOST_CLASSES, SCORES
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
    found: Found, given: np.ndarray, threads: int, runs: int, driver: Driver, folder: Path
) -> JobFolder:
    """A job in `folder` that times each file for exactly `runs` runs after a few more, an int8 file
    in turns with its float twin; without any time where the driver's mean nothing.

    given: the network's outputs of an image, as `Loader` has them.
    """
    (folder / "golden").mkdir(parents=True)
    told = _manifest(found, given)
    write_json(folder / MANIFEST_FILE, told)
    golden: tuple[Hashed, ...] = ()
    size = told.get("map")
    if fits_line(math.prod(size), told["num_classes"]) if size else given.size <= MOST_OUTPUTS:
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


def of_maps(given: np.ndarray) -> bool:
    """Whether outputs are maps of classes, or scores of such."""
    scores = given.ndim == 3 and 2 <= given.shape[0] <= MOST_CLASSES
    return scores or given.dtype == np.uint8


def _manifest(found: Found, given: np.ndarray) -> dict:
    """What runners read of a bundle's manifest."""
    maps, answer = of_maps(given), CLASSES if given.dtype == np.uint8 else SCORES
    # A map alone doesn't tell how many classes there are.
    most = MOST_CLASSES if answer == CLASSES else given.shape[0]
    count = most if maps else given.size
    numbers = [{"id": str(i), "label": str(i)} for i in range(count)]
    labels = [v.model_dump() for v in found.bundle.manifest.labels] if found.bundle else numbers
    return {
        "schema": SCHEMA,
        "model": found.model or "",
        "num_classes": len(labels),
        **({"map": list(given.shape[-2:]), "answer": answer} if maps else {}),
        "labels": labels,
        "preprocess": found.preprocess.to_dict(),
        "recipe": {},
        "tools": {},
        "files": [],
        "golden": [],
    }


def _hashed(folder: Path, name: str) -> Hashed:
    return Hashed(name, file_sha256(folder / name))
