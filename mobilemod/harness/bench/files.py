"""The model files that are measured, and what this machine makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mobilemod.data.preprocess import Preprocess
from mobilemod.data.testcard import draw_card
from mobilemod.errors import UserError
from mobilemod.files import file_sha256
from mobilemod.manifest import Bundle, bundle_around, load_bundle
from mobilemod.targets import SUFFIXES, suffix_of

# A file -> what runs it here: `run` maps float32 (1, 3, H, W) to outputs (K,) or (K, h, w), or to a
# map of classes, uint8 (h, w), `description` names it. Passed in, as it is known to export/ only.
Loader = Callable[[Path], Any]


@dataclass(frozen=True)
class BenchFile:
    """One file to measure. target, precision: None where no manifest says it."""

    path: Path
    sha256: str
    target: str | None = None
    precision: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As the record has it."""
        return {
            "file": self.path.name,
            "target": self.target,
            "precision": self.precision,
            "sha256": self.sha256,
        }


@dataclass(frozen=True)
class RunHere:
    """What a file gives here for the test card, as `Loader` has it, and what ran it."""

    outputs: np.ndarray
    runtime: str


@dataclass(frozen=True)
class Found:
    """Files of one network. bundle: what they lie in, None for a file that lies in none."""

    files: tuple[BenchFile, ...]
    bundle: Bundle | None = None

    @property
    def model(self) -> str | None:
        """The network's name."""
        return self.bundle and self.bundle.manifest.model

    @cached_property
    def preprocess(self) -> Preprocess:
        """How the network's input is made: the bundle's way, else the usual one."""
        return self.bundle.preprocess if self.bundle else Preprocess()

    @cached_property
    def card(self) -> np.ndarray:
        """The image of every measurement: the drawn test card, uint8 (H, W, 3)."""
        return draw_card(*self.preprocess.sides)

    def answer(self, file: BenchFile, load: Loader) -> RunHere:
        """Run a file here; `UserError` where it is damaged or doesn't take the card."""
        loaded = load(file.path)
        try:
            outputs = loaded.run(self.preprocess.normalize(self.card[None]))
        except ValueError as error:
            size = self.preprocess.pixels_text
            raise UserError(f"{file.path} takes no image of {size}: {error}") from None
        return RunHere(outputs, loaded.description)


def find_files(path: Path) -> Found:
    """The model files at `path`: a bundle's, or one file, described by the bundle around it.

    Raises `UserError` for anything else, and for a bundle whose files aren't its manifest's.
    """
    if suffix_of(path) not in SUFFIXES:
        if not path.is_dir():
            raise UserError(f"{path}: neither a bundle nor a {', '.join(SUFFIXES)} file")
        bundle = load_bundle(path)
        entries = bundle.manifest.files
        files = (BenchFile(path / e.file, e.sha256, e.target, e.precision) for e in entries)
        return Found(tuple(files), bundle)
    if not path.exists():
        raise UserError(f"{path}: no such file")
    digest = file_sha256(path)
    bundle = bundle_around(path)
    for e in bundle.manifest.files if bundle is not None else ():
        if (e.file, e.sha256) == (path.name, digest):
            return Found((BenchFile(path, digest, e.target, e.precision),), bundle)
    return Found((BenchFile(path, digest),))
