"""This machine's answers to the images that an app measured itself on, where it has them too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mobilemod.data.imagefolder import ImageFolder
from mobilemod.errors import shown
from mobilemod.files import file_sha256
from mobilemod.harness.protocol.job import Job
from mobilemod.harness.record.host_side import HostAnswers, HostSide
from mobilemod.manifest import Bundle
from mobilemod.progress import progress


@dataclass(frozen=True)
class Here:
    """The `HostSide` of a job that an app made. found: to those of its images that are here."""

    host: HostSide
    found: HostAnswers

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        job: Job,
        images: ImageFolder | None,
        make_host: Callable[[Bundle, ImageFolder | None], HostSide],
    ) -> Here:
        named = {} if images is None else same_images(job, images)
        if not named:
            none = np.zeros((0, bundle.manifest.num_classes), np.float32)
            return cls(make_host(bundle, None), HostAnswers((), none, {}))
        host = make_host(bundle, images.subset(sorted(named)))
        found = host.answers([f.name for f in job.files])
        names = {images.name(index): name for index, name in named.items()}
        return cls(host, replace(found, names=tuple(names[name] for name in found.names)))

    @property
    def names(self) -> tuple[str, ...]:
        """The app's, of the images that both have."""
        return self.found.names

    def answers(self, files: Sequence[str]) -> HostAnswers:
        return self.found

    def run(self, file: str, x: np.ndarray) -> np.ndarray:
        return self.host.run(file, x)

    def parts_at(self, file: str, delegate: str, x: np.ndarray) -> str | None:
        return self.host.parts_at(file, delegate, x)


def same_images(job: Job, images: ImageFolder) -> Mapping[int, str]:
    """By index of a sample the name in the job of the same image.

    By the bytes' hash where the job has that, else by class and file name; what either has twice
    is left out.
    """
    if job.inputs.kind == "images":
        asked = [item.sha256 for item in job.inputs.items]
        samples = progress(images.samples, "reading images", len(images.samples), "img")
        here = [_digest(sample.path) for sample in samples]
    else:
        asked = [(item.target, item.name.rpartition("/")[2]) for item in job.inputs.items]
        here = [(s.target, shown(Path(s.path.name))) for s in images.samples]
    names = Counter(item.name for item in job.inputs.items)
    keys = Counter(asked)
    named = {
        key: item.name
        for key, item in zip(asked, job.inputs.items, strict=True)
        if names[item.name] == 1 and keys[key] == 1
    }
    once = Counter(here)
    return {i: named[key] for i, key in enumerate(here) if key in named and once[key] == 1}


def _digest(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:
        return None
