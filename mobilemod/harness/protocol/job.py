"""The job of docs/harness-protocol.md as dataclasses, and what is already held of one.

Needs the standard library: this file also runs on devices.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA, RESUME_SCHEMA = "mobilemod/job/1", "mobilemod/resume/1"
JOB_FILE, RESUME_FILE, MANIFEST_FILE = "job.json", "resume.json", "manifest.json"
KINDS = ("images", "pixels")
DELEGATES = (
    "cpu", "xnnpack", "gpu", "nnapi", "npu", "vulkan",
    "all", "cpu_only", "cpu_and_ne", "cpu_and_gpu", "coreml",
    "wasm", "webgpu",
)  # fmt: skip
MAX_FILES, MAX_GOLDEN, MAX_CONFIGURATIONS, MAX_ITEMS = 256, 1000, 4096, 1_000_000
MAX_THREADS = 256


@dataclass(frozen=True)
class Hashed:
    """A file of the job: relative path, hex sha256 of its bytes."""

    path: str
    sha256: str


@dataclass(frozen=True)
class JobFile:
    """A model file. twin: name of the float file that it is timed against in turns, or None.

    sha256: of the bytes, of a package (folder) that of `mobilemod.files.file_sha256`.
    """

    name: str
    path: str
    sha256: str
    bytes: int
    target: str
    precision: str
    twin: str | None = None


@dataclass(frozen=True)
class Item:
    """One input. name: the user's file name, for people, never a path. target: class, or None.

    path, sha256: where inputs are images.
    """

    name: str
    target: int | None = None
    path: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Inputs:
    """kind "images": one file per item. "pixels": `path` is one raw uint8 file of `shape`
    (N, H, W, 3), resized and cropped, not normalized."""

    kind: str
    count: int
    items: tuple[Item, ...]
    path: str | None = None
    sha256: str | None = None
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Configuration:
    """One unit of work: a file by its name, threads, and what it runs on.

    self_test_only: its answers on the golden images are all that is asked for.
    """

    file: str
    threads: int
    delegate: str
    self_test_only: bool = False


@dataclass(frozen=True)
class LatencyPlan:
    """How latency is measured; see the protocol's "Order on the device", 3."""

    warm_up_seconds: float = 2.0
    warm_up_max: int = 200
    min_runs: int = 1024
    min_seconds: float = 60.0
    cold_starts: int = 3


@dataclass(frozen=True)
class Job:
    """A job. id: 64 hex digits, see `job_id`. manifest: the bundle's, golden: in its order."""

    id: str
    model: str
    manifest: Hashed
    files: tuple[JobFile, ...]
    inputs: Inputs
    golden: tuple[Hashed, ...]
    configurations: tuple[Configuration, ...]
    accuracy: bool = True
    latency: LatencyPlan | None = None
    sustained_seconds: float = 0
    logits: bool = False

    def file(self, name: str) -> JobFile:
        """A model file by its name."""
        return next(f for f in self.files if f.name == name)

    @property
    def measured(self) -> tuple[int, ...]:
        """Indices of the configurations that aren't there for their self-test alone."""
        return tuple(i for i, c in enumerate(self.configurations) if not c.self_test_only)

    @property
    def tested(self) -> tuple[int, ...]:
        """Indices of those that are."""
        return tuple(i for i, c in enumerate(self.configurations) if c.self_test_only)

    def first_configuration(self, name: str) -> int | None:
        """Index of a file's first measured configuration: the one whose accuracy is taken."""
        own = (i for i in self.measured if self.configurations[i].file == name)
        return next(own, None)

    def twin_of(self, index: int) -> int | None:
        """Index of the configuration that `index` is timed against in turns, or None."""
        own = self.configurations[index]
        twin = None if own.self_test_only else self.file(own.file).twin
        wanted = None if twin is None else Configuration(twin, own.threads, own.delegate)
        return self.configurations.index(wanted) if wanted in self.configurations else None

    def timed_groups(self) -> list[tuple[int, ...]]:
        """Configurations that are timed in turns, (int8, its twin), and others alone.

        Each is in one group: of several int8 files with one twin, the first has it. In the order of
        the groups' first configurations.
        """
        taken: set[int] = set()
        groups: list[tuple[int, ...]] = []
        for index in self.measured:
            twin = self.twin_of(index)
            if twin is not None and taken.isdisjoint((index, twin)):
                groups.append((index, twin))
                taken |= {index, twin}
        groups += [(i,) for i in self.measured if i not in taken]
        return sorted(groups, key=min)

    def to_dict(self) -> dict[str, Any]:
        """As `job.json` has it. Keys that don't go with the kind of inputs are left out."""
        values = {"schema": SCHEMA, **asdict(self)}
        inputs = {k: v for k, v in values["inputs"].items() if v is not None}
        inputs["items"] = [
            {k: v for k, v in item.items() if k == "target" or v is not None}
            for item in inputs["items"]
        ]
        return json.loads(json.dumps({**values, "inputs": inputs}))


def job_id(values: Mapping[str, Any]) -> str:
    """The id of a job in `to_dict`'s form, whatever its own `id` says."""
    rest = {k: v for k, v in values.items() if k != "id"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


@dataclass(frozen=True)
class Resume:
    """What the harness already holds of a job.

    answered: by file name, the indices of inputs that are answered (or unreadable).
    finished: (configuration, phase) that need not run again.
    """

    job: str
    answered: Mapping[str, frozenset[int]] = field(default_factory=dict)
    finished: frozenset[tuple[int, str]] = frozenset()

    def has(self, file: str, image: int) -> bool:
        """Whether the answer of a file on an input is there."""
        return image in self.answered.get(file, ())

    def to_dict(self) -> dict[str, Any]:
        """As `resume.json` has it."""
        return {
            "schema": RESUME_SCHEMA,
            "job": self.job,
            "answered": {f: ranges(indices) for f, indices in self.answered.items()},
            "finished": [list(pair) for pair in sorted(self.finished)],
        }


def ranges(indices: Iterable[int]) -> list[list[int]]:
    """Whole numbers as sorted [first, last] ranges."""
    found: list[list[int]] = []
    for i in sorted(set(indices)):
        if found and i == found[-1][1] + 1:
            found[-1][1] = i
        else:
            found.append([i, i])
    return found
