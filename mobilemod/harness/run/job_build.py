"""Makes a job folder from a bundle, images and a plan of what to measure."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mobilemod.data.imagefolder import Damage, Damaged, ImageFolder, iter_pixels
from mobilemod.errors import UserError, shown
from mobilemod.evaluation.runs import most_text
from mobilemod.files import atomic_folder, file_sha256, open_regular, write_text
from mobilemod.harness.drivers import Driver
from mobilemod.harness.protocol.job import (
    JOB_FILE,
    MANIFEST_FILE,
    Configuration,
    Hashed,
    Inputs,
    Item,
    Job,
    JobFile,
    LatencyPlan,
    job_id,
)
from mobilemod.harness.protocol.job_folder import JobFolder
from mobilemod.harness.protocol.lines import MAX_LINE
from mobilemod.harness.protocol.values import check_path
from mobilemod.harness.run.job_schema import check_job
from mobilemod.manifest import Bundle, write_manifest
from mobilemod.manifest_schema import ModelFile
from mobilemod.progress import progress
from mobilemod.targets import suffix_of

PIXELS = "inputs/pixels.u8"
# Logits travel with every answer up to so many classes; beyond, their hash and the top five do.
LOGITS_UP_TO = 100
HEAD = 1024  # bytes of a line beside its map


@dataclass(frozen=True)
class Plan:
    """What is measured. threads: each file's configurations. latency: None to leave it out.

    accuracy: whether every input goes through each file's first configuration. files: names of the
    model files that are measured; None: all that the device runs.
    """

    threads: tuple[int, ...] = (1,)
    accuracy: bool = True
    latency: LatencyPlan | None = field(default_factory=LatencyPlan)
    sustained_seconds: float = 0
    files: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.threads or min(self.threads) < 1 or len(set(self.threads)) < len(self.threads):
            raise UserError(f"threads {self.threads}: give different whole numbers, 1 or more")


@dataclass(frozen=True)
class Built:
    """A job folder, and the chosen images that couldn't be read here (names): for "pixels" this
    machine decodes them, for "images" it copies them."""

    folder: JobFolder
    damaged: tuple[str, ...]


def build_job(
    bundle: Bundle, images: ImageFolder | None, driver: Driver, plan: Plan, out: Path
) -> Built:
    """Make `out` the folder of a job for `driver`; a folder that is there is replaced.

    images: those that accuracy is measured on; None: no accuracy. The same bundle, images and plan
    give the same id, whenever and wherever they are built.

    Raises `UserError` where the device runs none of the bundle's files, can't run so many threads,
    where more than 1 % of the images can't be read, or a map may be too long for a line.
    """
    _check_map(bundle)
    entries = [e for e in bundle.manifest.files if suffix_of(Path(e.file)) in driver.suffixes()]
    if not entries:
        kinds = ", ".join(driver.suffixes())
        raise UserError(f"{bundle.folder}: the device runs {kinds} files, and the bundle has none")
    entries = _chosen(entries, plan, bundle)
    check_threads(driver, max(plan.threads))
    with atomic_folder(out) as folder:
        manifest = _manifest(bundle, [e.file for e in entries], folder)
        golden = [
            copy_into(folder, bundle.file(g.image), g.image, g.sha256)
            for g in bundle.manifest.golden
        ]
        files = in_pairs(_model(bundle, entry, folder) for entry in entries)
        damaged: tuple[str, ...] = ()
        (folder / "inputs").mkdir()
        if images is None:
            inputs = Inputs("images", 0, ())
        elif driver.input_kind == "images":
            inputs, damaged = _images(images, folder)
        else:
            inputs, damaged = _pixels(images, bundle, folder)
        job = Job(
            id="",
            model=bundle.manifest.model,
            manifest=manifest,
            files=files,
            inputs=inputs,
            golden=tuple(golden),
            configurations=_configurations(files, plan, driver, bool(golden)),
            accuracy=plan.accuracy and inputs.count > 0,
            latency=plan.latency if driver.latency else None,
            sustained_seconds=plan.sustained_seconds if driver.latency else 0,
            logits=bundle.manifest.map is None and bundle.manifest.num_classes <= LOGITS_UP_TO,
        )
        job = write_job(job, folder).job
    return Built(JobFolder(out, job), damaged)


def _configurations(
    files: Sequence[JobFile], plan: Plan, driver: Driver, golden: bool
) -> tuple[Configuration, ...]:
    """What is measured, on what the device usually runs each file on, then the self-test of each
    file on everything else that it may run on there. golden: whether there are golden images."""
    measured = [
        Configuration(f.name, threads, driver.delegates(f.target)[0])
        for threads in plan.threads
        for f in files
    ]
    tested = [
        Configuration(f.name, plan.threads[0], delegate, self_test_only=True)
        for f in files
        for delegate in driver.delegates(f.target)[1:]
    ]
    return (*measured, *(tested if golden else ()))


def fits_line(pixels: int, classes: int) -> bool:
    """Whether a line has room for any map of so many pixels and classes."""
    return most_text(pixels, classes) + HEAD <= MAX_LINE


def _check_map(bundle: Bundle) -> None:
    size, classes = bundle.manifest.map, bundle.manifest.num_classes
    if size is not None and not fits_line(size[0] * size[1], classes):
        raise UserError(
            f"{bundle.folder}: maps of {size[1]} x {size[0]} pixels in {classes} classes may take "
            f"{most_text(size[0] * size[1], classes):,} bytes, a device's line holds {MAX_LINE:,}; "
            "export the network for smaller images"
        )


def check_threads(driver: Driver, threads: int) -> None:
    """Raises `UserError` where a device can't run so many; asked after `driver.check`."""
    if threads > driver.most_threads:
        raise UserError(f"the device runs at most {driver.most_threads} threads; give --threads")


def write_job(job: Job, folder: Path) -> JobFolder:
    """Write `job.json` beside the job's files, under the id of its contents.

    Raises `UserError` for what no runner takes.
    """
    values = job.to_dict()
    values["id"] = job_id(values)
    check_job(values, JOB_FILE, "no device takes such a job, change what is measured")
    write_text(folder / JOB_FILE, json.dumps(values, ensure_ascii=False) + "\n")
    return JobFolder(folder, replace(job, id=values["id"]))


def _chosen(entries: list[ModelFile], plan: Plan, bundle: Bundle) -> list[ModelFile]:
    if plan.files is None:
        return entries
    names = [e.file for e in entries]
    for name in plan.files:
        if name not in names:
            raise UserError(
                f"{bundle.folder}: no file {name!r} that runs there; {', '.join(names)}"
            )
    return [e for e in entries if e.file in plan.files]


def copy_into(folder: Path, source: Path, target: str, sha256: str | None = None) -> Hashed:
    """Copy a file or package to the path `target` of a job; copies, so that nothing can change what
    was given. Raises `UserError` where the copy hasn't the hash that is expected."""
    path = folder / check_path(target, str(source))
    path.parent.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if source.is_dir() else shutil.copyfile)(source, path)
    copied = Hashed(target, file_sha256(path))
    if sha256 not in (None, copied.sha256):
        raise UserError(f"{source} changed while it was copied; run it again")
    return copied


def in_pairs(files: Iterable[JobFile]) -> tuple[JobFile, ...]:
    """Each int8 file with its float twin: the first file of its target that isn't int8."""
    files = tuple(files)
    floats = {f.target: f.name for f in reversed(files) if f.precision != "int8"}
    return tuple(
        replace(f, twin=floats.get(f.target)) if f.precision == "int8" else f for f in files
    )


def _manifest(bundle: Bundle, files: Sequence[str], folder: Path) -> Hashed:
    """The manifest of what a job holds, the same before and after accuracy was measured."""
    write_manifest(folder, {**bundle.part(files), "accuracy": None})
    return Hashed(MANIFEST_FILE, file_sha256(folder / MANIFEST_FILE))


def _model(bundle: Bundle, entry: ModelFile, folder: Path) -> JobFile:
    source, name = bundle.file(entry.file), entry.file
    copied = copy_into(folder, source, f"models/{name}", entry.sha256)
    return JobFile(name, copied.path, copied.sha256, entry.bytes, entry.target, entry.precision)


def _images(images: ImageFolder, folder: Path) -> tuple[Inputs, tuple[str, ...]]:
    damage = Damage(len(images.samples))
    items: list[Item] = []
    samples = progress(images.samples, "copying images", len(images.samples), "img")
    for number, sample in enumerate(samples):
        path = f"inputs/{number:06d}{sample.path.suffix.lower()}"
        try:
            # Only reading is the image's matter: a full disk ends the run.
            with open_regular(sample.path):
                pass
        except OSError as error:
            kind = (error.strerror or type(error).__name__).lower()
            damage.add([Damaged(sample.path, kind, kind)])
            continue
        copied = copy_into(folder, sample.path, path)
        items.append(Item(images.name(number), sample.target, copied.path, copied.sha256))
    damage.check()
    return Inputs("images", len(items), tuple(items)), _names(images, damage)


def _pixels(images: ImageFolder, bundle: Bundle, folder: Path) -> tuple[Inputs, tuple[str, ...]]:
    damage = Damage(len(images.samples))
    items = []
    found = iter_pixels(images, bundle.preprocess, damage)
    with (folder / PIXELS).open("wb") as f:
        for i, pixels in progress(found, "packing images", len(images.samples), "img"):
            f.write(np.ascontiguousarray(pixels, np.uint8).tobytes())
            items.append(Item(images.name(i), images.samples[i].target))
    digest = file_sha256(folder / PIXELS)
    shape = (len(items), *bundle.preprocess.sides, 3)
    inputs = Inputs("pixels", len(items), tuple(items), PIXELS, digest, shape)
    return inputs, _names(images, damage)


def _names(images: ImageFolder, damage: Damage) -> tuple[str, ...]:
    return tuple(shown(i.path.relative_to(images.root).as_posix()) for i in damage.images)
