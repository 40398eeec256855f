"""What a bundle knows of itself: every record in its folder that can be read and is of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from mobilemod.errors import UserError
from mobilemod.manifest import Bundle
from mobilemod.results.device.kept import DEVICES, latest_records, read_records
from mobilemod.results.parts import Group
from mobilemod.results.profile.page import profile_group
from mobilemod.results.report.pictures import read_pictures
from mobilemod.results.schema import validate_record
from mobilemod.results.search.page import search_group
from mobilemod.results.sensitivity.page import sensitivity_group
from mobilemod.results.stress.page import stress_group
from mobilemod.results.validation.history import read_history
from mobilemod.sealed import KEY, read_sealed
from mobilemod.tasks import task_of
from mobilemod.tasks.task import Task, Thumb

REPORT_FOLDER, RECORD_FILE = "report", "validation.json"
PROFILES = "profile"  # the bundle's folder of profiles
# What rendering a record of another shape raises.
_MISSHAPEN = (KeyError, IndexError, TypeError, ValueError, AttributeError, ZeroDivisionError)

Record = dict[str, Any]


@dataclass(frozen=True)
class ModelEntry:
    """A model file of a bundle. bytes: None where it isn't known."""

    file: str
    target: str
    precision: str
    bytes: int | None


@dataclass(frozen=True)
class Known:
    """A bundle's records; without a bundle what a page can be made of.

    files: its model files. devices: the record that each device is shown by; records: all of them.
    history: lines of its validations. left_out: what was found and not read, and why.
    """

    model: str
    task: Task
    files: tuple[ModelEntry, ...] = ()
    validation: Record | None = None
    thumb: Thumb = lambda index: None
    devices: tuple[Record, ...] = ()
    records: tuple[Record, ...] = ()
    stress: Record | None = None
    sensitivity: tuple[Record, ...] = ()
    searches: tuple[Record, ...] = ()
    profiles: tuple[Record, ...] = ()
    history: tuple[Record, ...] = ()
    left_out: tuple[str, ...] = ()

    @classmethod
    def of_validation(cls, record: Record, thumb: Thumb = lambda index: None) -> Known:
        """Of a validation's record alone."""
        named = (record["bundle"].get(key) for key in ("model", "name", "variant"))
        model = next((name for name in named if isinstance(name, str)), "a model bundle")
        return cls(model, task_of(record), validation=record, thumb=thumb)

    def twin(self, file: str) -> ModelEntry | None:
        """The float file of an int8 file's target."""
        target = next((e.target for e in self.files if e.file == file), None)
        floats = (e for e in self.files if e.target == target and e.precision != "int8")
        return next(floats, None)


def validation_record(bundle: Bundle) -> Record:
    """The last validation record of a bundle; `UserError` for none, a changed or another's."""
    path = bundle.folder / REPORT_FOLDER / RECORD_FILE
    again = f"run 'mobilemod validate {bundle.folder}'"
    if not path.is_file():
        raise UserError(f"{bundle.folder} has no validation record; {again}")
    record = read_sealed(path, again)
    del record[KEY]
    validate_record(record)
    if record["bundle"].get("manifest") != bundle.identity:
        raise UserError(f"{path} is the record of another bundle, or of an earlier export; {again}")
    return record


def read_known(bundle: Bundle) -> Known:
    """Every record in a bundle's folder; a line on standard error for each that is left out."""
    reader = _Reader(bundle)
    devices = read_records(bundle.folder / DEVICES)
    return Known(
        model=bundle.manifest.model,
        task=bundle.task,
        files=tuple(
            ModelEntry(e.file, e.target, e.precision, e.bytes) for e in bundle.manifest.files
        ),
        validation=reader.validation(),
        thumb=read_pictures(bundle.folder / REPORT_FOLDER),
        devices=tuple(latest_records(devices).values()),
        records=tuple(devices),
        stress=next(iter(reader.all("stress", stress_group, _of_files)), None),
        sensitivity=tuple(reader.all("sensitivity", sensitivity_group, _of_weights)),
        searches=tuple(reader.all("search", search_group, _of_weights)),
        profiles=tuple(reader.all("profile", lambda r: profile_group([r]), _of_file)),
        history=tuple(read_history(bundle.folder)),
        left_out=tuple(reader.left_out),
    )


@dataclass
class _Reader:
    """Reads what isn't sealed. left_out: a line for each that wasn't taken."""

    bundle: Bundle
    left_out: list[str] = field(default_factory=list)

    def validation(self) -> Record | None:
        if not (self.bundle.folder / REPORT_FOLDER / RECORD_FILE).is_file():
            return None
        try:
            return validation_record(self.bundle)
        except UserError as error:
            self._leave(str(error))
            return None

    def all(
        self,
        verb: str,
        render: Callable[[Record], Group | None],
        fits: Callable[[Record, Bundle], bool],
    ) -> Iterator[Record]:
        """The records of a verb, which lie in a folder of its name. render: what shows them."""
        for path in sorted((self.bundle.folder / verb).glob("*.json")):
            again = f"left out; run 'mobilemod {verb}' again"
            try:
                record = json.loads(path.read_text("utf-8"))
                if not isinstance(record, dict):
                    raise TypeError("no object")
                # A recipe lies beside the record that found it.
                if record.get("schema") != f"mobilemod/{verb}/1":
                    continue
                if not fits(record, self.bundle):
                    self._leave(f"{path} is of another export of the bundle: {again}")
                    continue
                render(record)
            except OSError as error:
                self._leave(f"{path} can't be read ({error.strerror}): {again}")
            except (*_MISSHAPEN, RecursionError) as error:
                kind = type(error).__name__
                self._leave(f"{path} is damaged ({kind}: {error}): {again}")
            else:
                yield record

    def _leave(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)
        self.left_out.append(line)


def _of_files(record: Record, bundle: Bundle) -> bool:
    """Whether the bundle still has the files that were measured; older records don't say."""
    return _held((m.get("sha256") for m in record["models"]), bundle)


def _of_file(record: Record, bundle: Bundle) -> bool:
    return _held((record.get("sha256"),), bundle)


def _of_weights(record: Record, bundle: Bundle) -> bool:
    weights = record.get("weights")
    return weights is None or weights == bundle.manifest.checkpoint.weights


def _held(found: Iterator[str | None] | Collection[str | None], bundle: Bundle) -> bool:
    there = {e.sha256 for e in bundle.manifest.files}
    return all(digest is None or digest in there for digest in found)
