"""The images that a verb was given: where they lie, which split is measured, whose classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mobilemod.data.classes import ClassNames
from mobilemod.errors import UserError, shown

TRAIN, MEASURED = "train", "val"
# Folders of these names hold what a network was trained on.
TRAINING_NAMES = ("train", "training")


@dataclass(frozen=True)
class DataSet:
    """`root` has a folder for each split, or is one itself.

    split: the one that is measured. classes: how class folders are named, where their names don't
    say it.
    """

    root: Path
    split: str = MEASURED
    classes: ClassNames | None = None

    @classmethod
    def of(cls, data: Path | DataSet) -> DataSet:
        """`data` itself, or the folder with nothing else said of it."""
        return data if isinstance(data, DataSet) else cls(data)

    @classmethod
    def given(
        cls, data: str | Path | DataSet | None, split: str | None, classes: str | Path | None
    ) -> DataSet | None:
        """Of what a user gave, the split that is measured and what says the classes' folders; None
        without `data`, with which the others are a `UserError`."""
        if not data:
            for option, value in (("split", split), ("classes", classes)):
                if value:
                    raise UserError(f"--{option} goes with --data")
            return None
        if isinstance(data, DataSet):
            return data
        names = ClassNames.read(str(classes)) if classes else None
        return cls(Path(data), split or MEASURED, names)

    def folder(self, split: str) -> Path:
        """Where the images of "train" or "val" lie; the latter stands for what is measured.

        Raises `UserError` where they don't, and where training images would be measured unasked.
        """
        name = self.split if split == MEASURED else split
        root = self.root
        if not root.is_dir():
            raise UserError(
                f"no data folder at {shown(root)}; give DATA=/path (or MOBILEMOD_DATA), or run "
                "'make data'"
            )
        if (root / name).is_dir():
            return root / name
        there = [s for s in (*TRAINING_NAMES, MEASURED) if (root / s).is_dir()]
        own = root.resolve().name
        if there or (name not in (TRAIN, MEASURED) and own != name):
            has = f"; it has {', '.join(there)}" if there else ""
            if there and split != TRAIN:
                has += f": give --split {there[0]} to measure on that"
            raise UserError(f"{shown(root)} has no folder {name}{has}")
        if split == MEASURED and own.lower() in TRAINING_NAMES and name != own:
            raise UserError(
                f"{shown(root)} holds training images; give --split {own} to measure on them, or "
                "the folder above, which has val/"
            )
        return root
