"""The folder of scenes: what is in it, what is missing, and a scene's two files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.scenes.compose import IGNORED, Scene
from mobilemod.data.listing import is_passed_over
from mobilemod.errors import UserError, shown
from mobilemod.files import atomic_path, write_json, write_text

RECORD, CLASSES = "scenes.json", "classes.txt"
IMAGES, LABELS = "images", "labels"
# Files are written here and moved: to look for a killed run's leftovers in a folder of 10,000
# scenes would take longer than a scene.
WRITING = ".writing"
SCHEMA = "mobilemod/scenes/1"
QUALITY = 94


@dataclass(frozen=True)
class SceneFolder:
    """`root` with images, labels, the names of classes and the record."""

    root: Path

    def begin(self, about: dict[str, Any], counts: dict[str, int], names: list[str]) -> None:
        """Write the record of scenes that are about to be made; an earlier run's is gone on with.

        about: what scenes depend on. counts: by split. Raises `UserError` for a folder of other
        things, of scenes that depend on something else, and of more scenes than these.
        """
        record = self.root / RECORD
        if record.is_file():
            self._check(about, counts)
        elif any(not is_passed_over(p.name) for p in self.root.iterdir()):
            raise UserError(
                f"--out {shown(self.root)} holds other files and no {RECORD}: give a folder that "
                "is new or empty"
            )
        # First, so that a run that ends here is gone on with.
        self._write(about, counts, complete=False)
        for split in counts:
            for kind in (IMAGES, LABELS):
                (self.root / split / kind).mkdir(parents=True, exist_ok=True)
        write_text(self.root / CLASSES, "".join(f"{name}\n" for name in names))

    def end(self, about: dict[str, Any], counts: dict[str, int]) -> None:
        """Say in the record that all scenes are there."""
        shutil.rmtree(self.root / WRITING, ignore_errors=True)
        self._write(about, counts, complete=True)

    def missing(self, split: str, count: int) -> list[int]:
        """Which of the first `count` scenes of a split aren't there, whole."""
        there = [
            {name.partition(".")[0] for name in os.listdir(self.root / split / kind)}
            for kind in (IMAGES, LABELS)
        ]
        return [i for i in range(count) if not all(_stem(i) in stems for stems in there)]

    def write(self, split: str, index: int, scene: Scene) -> None:
        """Both files of a scene, each whole or absent."""
        image, labels = Image.fromarray(scene.image), Image.fromarray(scene.labels)
        self._save(split, LABELS, f"{_stem(index)}.png", lambda p: labels.save(p, "PNG"))
        # Colours in full resolution: a halved one would bleed over the ignored border.
        self._save(
            split,
            IMAGES,
            f"{_stem(index)}.jpg",
            lambda p: image.save(p, "JPEG", quality=QUALITY, subsampling=0),
        )

    def _save(self, split: str, kind: str, name: str, save: Callable[[Path], None]) -> None:
        staged = self.root / WRITING / f"{split}-{name}"
        with atomic_path(staged) as path:
            save(path)
        os.replace(staged, self.root / split / kind / name)

    def _write(self, about: dict[str, Any], counts: dict[str, int], complete: bool) -> None:
        values = {"schema": SCHEMA, "complete": complete, "scenes": counts, "ignored": IGNORED}
        write_json(self.root / RECORD, {**values, **about})

    def _check(self, about: dict[str, Any], counts: dict[str, int]) -> None:
        where = f"--out {shown(self.root)}"
        try:
            found = json.loads((self.root / RECORD).read_text("utf-8"))
            there = {split: int(found["scenes"][split]) for split in counts}
        except (OSError, ValueError, TypeError, KeyError):
            raise UserError(f"{where}: its {RECORD} can't be read; give a new folder") from None
        # What JSON makes of tuples.
        wanted = json.loads(json.dumps(about))
        if other := [key for key in wanted if found.get(key) != wanted[key]]:
            raise UserError(
                f"{where} holds scenes of another {' and '.join(other)}: give the same, or a new "
                "folder"
            )
        for split, count in counts.items():
            if count < there[split]:
                raise UserError(
                    f"{where} is for {there[split]} scenes of {split}: give --{split} "
                    f"{there[split]} or more, or a new folder"
                )


def _stem(index: int) -> str:
    return f"{index:06d}"
