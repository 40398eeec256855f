"""The schema of `job.json`, by which a job is checked before a device gets it.

Unknown keys are let through, as every runner does; no key may lack.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from mobilemod.errors import UserError
from mobilemod.harness.protocol.job import (
    DELEGATES,
    MAX_CONFIGURATIONS,
    MAX_FILES,
    MAX_GOLDEN,
    MAX_ITEMS,
    MAX_THREADS,
    SCHEMA,
    job_id,
)
from mobilemod.harness.protocol.values import check_path
from mobilemod.manifest_schema import Count, Open, Sha256, checked
from mobilemod.targets import TARGETS


def _relative(path: str) -> str:
    try:
        return check_path(path)
    except UserError:
        raise ValueError("must be a relative path of letters, digits, '.', '_' and '-'") from None


Text = Annotated[str, StringConstraints(max_length=4096)]
Name = Annotated[str, StringConstraints(max_length=255)]
Relative = Annotated[str, AfterValidator(_relative)]
Amount = Annotated[float, Field(ge=0, le=1e6)]


class HashedEntry(Open):
    """A file of the job and the sha256 of its bytes."""

    path: Relative
    sha256: Sha256


class FileEntry(HashedEntry):
    """A model file. twin: name of the float file that it is timed against in turns."""

    name: Name
    bytes: Count
    target: Literal[*TARGETS]
    precision: Annotated[str, StringConstraints(max_length=64)]
    twin: Text | None


class ItemEntry(Open):
    """One input. name: the user's, never a path. target: its class, None where unknown."""

    name: Text
    target: Count | None


class ImageEntry(ItemEntry, HashedEntry):
    """An input that is a file."""


class Images(Open):
    """One file per input."""

    kind: Literal["images"]
    count: Count
    items: Annotated[list[ImageEntry], Field(max_length=MAX_ITEMS)]


class Pixels(HashedEntry):
    """One raw uint8 file of `shape` (count, H, W, 3), resized and cropped, not normalized."""

    kind: Literal["pixels"]
    count: Count
    items: Annotated[list[ItemEntry], Field(max_length=MAX_ITEMS)]
    shape: Annotated[list[int], Field(min_length=4, max_length=4)]

    @model_validator(mode="after")
    def _sides(self) -> Pixels:
        count, height, width, channels = self.shape
        sides = min(height, width) >= 1 and max(height, width) <= 4096
        if (count, channels) != (self.count, 3) or not sides:
            raise ValueError("shape must be [count, H, W, 3] with H and W from 1 to 4096")
        return self


class ConfigurationEntry(Open):
    """One unit of work. self_test_only: its answers on the golden images are all that is asked."""

    file: Name
    threads: Annotated[int, Field(ge=1, le=MAX_THREADS)]
    delegate: Literal[*DELEGATES]
    self_test_only: bool


class Latency(Open):
    """How latency is measured; see the protocol's "Order on the device", 3."""

    warm_up_seconds: Amount
    warm_up_max: Annotated[int, Field(ge=0, le=10**6)]
    min_runs: Annotated[int, Field(ge=0, le=10**7)]
    min_seconds: Amount
    cold_starts: Annotated[int, Field(ge=0, le=1000)]


class JobSchema(Open):
    """The whole; docs/harness-protocol.md has what each key means."""

    schema_: Literal[SCHEMA] = Field(alias="schema")
    id: Sha256
    model: Text
    manifest: HashedEntry
    files: Annotated[list[FileEntry], Field(max_length=MAX_FILES)]
    inputs: Annotated[Images | Pixels, Field(discriminator="kind")]
    golden: Annotated[list[HashedEntry], Field(max_length=MAX_GOLDEN)]
    configurations: Annotated[list[ConfigurationEntry], Field(max_length=MAX_CONFIGURATIONS)]
    accuracy: bool
    latency: Latency | None
    sustained_seconds: Amount
    logits: bool

    @model_validator(mode="after")
    def _fits(self) -> JobSchema:
        names = [f.name for f in self.files]
        if len(set(names)) != len(names):
            raise ValueError("files: two of one name")
        if self.inputs.count != len(self.inputs.items):
            raise ValueError("inputs.count must be as many as items")
        for i, c in enumerate(self.configurations):
            if c.file not in names:
                raise ValueError(f"configurations[{i}].file must be one of files")
            if all(d.self_test_only for d in self.configurations if d.file == c.file):
                raise ValueError(f"configurations[{i}]: no configuration of its file is measured")
        return self


def check_job(values: Mapping[str, Any], where: str, mend: str) -> None:
    """Raises `UserError`, one line with the first key that is missing or of a wrong value."""
    checked(JobSchema, values, where, mend)
    if job_id(values) != values["id"]:
        raise UserError(f"{where}: id isn't that of its contents; {mend}")
