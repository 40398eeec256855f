"""The job of docs/harness-protocol.md as dataclasses, and job folders, which nobody has to trust.

Needs the standard library and a few small modules of mobilemod: this file also runs on devices.
`job_build.py` makes a job folder from a bundle; here one is read and checked.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mobilemod.errors import UserError
from mobilemod.files import file_sha256
from mobilemod.harness.protocol.values import Values, check_path, short
from mobilemod.targets import TARGETS

SCHEMA, RESUME_SCHEMA = "mobilemod/job/1", "mobilemod/resume/1"
JOB_FILE, RESUME_FILE, MANIFEST_FILE = "job.json", "resume.json", "manifest.json"
KINDS = ("images", "pixels")
DELEGATES = (
    "cpu", "xnnpack", "gpu", "nnapi",
    "all", "cpu_only", "cpu_and_ne", "cpu_and_gpu",
    "wasm", "webgpu",
)  # fmt: skip
MAX_JSON = 64 << 20
MAX_ITEMS = 1_000_000
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
    (N, S, S, 3), resized and cropped, not normalized."""

    kind: str
    count: int
    items: tuple[Item, ...]
    path: str | None = None
    sha256: str | None = None
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Configuration:
    """One unit of work: a file by its name, threads, and what it runs on."""

    file: str
    threads: int
    delegate: str


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

    def first_configuration(self, name: str) -> int:
        """Index of a file's first configuration: the one whose accuracy is taken."""
        return next(i for i, c in enumerate(self.configurations) if c.file == name)

    def twin_of(self, index: int) -> int | None:
        """Index of the configuration that `index` is timed against in turns, or None."""
        own = self.configurations[index]
        twin = self.file(own.file).twin
        wanted = None if twin is None else Configuration(twin, own.threads, own.delegate)
        return self.configurations.index(wanted) if wanted in self.configurations else None

    def timed_groups(self) -> list[tuple[int, ...]]:
        """Configurations that are timed in turns, (int8, its twin), and others alone.

        Each is in one group: of several int8 files with one twin, the first has it. In the order of
        the groups' first configurations.
        """
        taken: set[int] = set()
        groups: list[tuple[int, ...]] = []
        for index in range(len(self.configurations)):
            twin = self.twin_of(index)
            if twin is not None and taken.isdisjoint((index, twin)):
                groups.append((index, twin))
                taken |= {index, twin}
        groups += [(i,) for i in range(len(self.configurations)) if i not in taken]
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


# -- reading what came from outside


def parse_job(raw: bytes, where: str = JOB_FILE) -> Job:
    """The job in the bytes of a `job.json`; `UserError` for anything that isn't one."""
    values = _read_json(raw, where)
    v = Values(values, where)
    v.text("schema", (SCHEMA,))
    job = Job(
        id=v.digest("id"),
        model=v.text("model"),
        manifest=_hashed(v.object("manifest")),
        files=v.items("files", 256, _job_file),
        inputs=_inputs(v.object("inputs")),
        golden=v.items("golden", 1000, _hashed),
        configurations=v.items("configurations", 4096, _configuration),
        accuracy=v.flag("accuracy"),
        latency=v.maybe("latency", lambda key: _latency(v.object(key))),
        sustained_seconds=v.number("sustained_seconds"),
        logits=v.flag("logits"),
    )
    if job_id(values) != job.id:
        raise UserError(f"{where}: id isn't that of its contents; build the job again")
    names = [f.name for f in job.files]
    if len(set(names)) != len(names):
        raise UserError(f"{where}: two files of one name")
    for c in job.configurations:
        if c.file not in names:
            raise UserError(f"{where}: a configuration of {short(c.file)}, which isn't a file")
    return job


def _read_json(raw: bytes, where: str) -> dict[str, Any]:
    if len(raw) > MAX_JSON:
        raise UserError(f"{where} is larger than {MAX_JSON >> 20} MiB")
    try:
        values = json.loads(raw.decode("utf-8"))
        json.dumps(values, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is no JSON ({type(error).__name__})") from None
    if not isinstance(values, dict):
        raise UserError(f"{where} is no JSON object")
    return values


def _hashed(v: Values) -> Hashed:
    return Hashed(v.path(), v.digest())


def _job_file(v: Values) -> JobFile:
    return JobFile(
        v.text("name", most=255),
        v.path(),
        v.digest(),
        v.whole("bytes"),
        v.text("target", tuple(TARGETS)),
        v.text("precision", most=64),
        v.maybe("twin", v.text),
    )


def _inputs(v: Values) -> Inputs:
    kind = v.text("kind", KINDS)
    images = kind == "images"

    def item(i: Values) -> Item:
        name, target = i.text("name"), i.maybe("target", i.whole)
        return Item(name, target, i.path(), i.digest()) if images else Item(name, target)

    items = v.items("items", MAX_ITEMS, item)
    if v.whole("count") != len(items):
        raise v.fail("count", f"{len(items)}, as many as items")
    if images:
        return Inputs(kind, len(items), items)
    shape = v.raw("shape")
    whole = isinstance(shape, list) and len(shape) == 4 and all(type(n) is int for n in shape)
    if not whole or shape[0] != len(items) or shape[1] != shape[2] or shape[3] != 3:
        raise v.fail("shape", f"[{len(items)}, S, S, 3]")
    if not 1 <= shape[1] <= 4096:
        raise v.fail("shape", "a size from 1 to 4096")
    return Inputs(kind, len(items), items, v.path(), v.digest(), tuple(shape))


def _configuration(v: Values) -> Configuration:
    threads = v.whole("threads", 1, MAX_THREADS)
    return Configuration(v.text("file", most=255), threads, v.text("delegate", DELEGATES))


def _latency(v: Values) -> LatencyPlan:
    return LatencyPlan(
        v.number("warm_up_seconds"),
        v.whole("warm_up_max", most=10**6),
        v.whole("min_runs", most=10**7),
        v.number("min_seconds"),
        v.whole("cold_starts", most=1000),
    )


def parse_resume(raw: bytes, job: Job, where: str = RESUME_FILE) -> Resume:
    """What is in a `resume.json`; one of another job holds nothing. Raises `UserError`."""
    values = Values(_read_json(raw, where), where)
    values.text("schema", (RESUME_SCHEMA,))
    if values.digest("job") != job.id:
        return Resume(job.id)
    answered, finished = values.raw("answered"), values.raw("finished")
    if not isinstance(answered, dict) or not isinstance(finished, list):
        raise UserError(f"{where}: answered must be an object and finished a list")
    names, count = {f.name for f in job.files}, job.inputs.count
    found = {}
    for name, pairs in answered.items():
        indices: set[int] = set()
        for pair in pairs if isinstance(pairs, list) else ():
            if not _pair(pair, count):
                raise UserError(f"{where}: {short(pair)} is no range of the {count} inputs")
            indices.update(range(pair[0], pair[1] + 1))
        if name in names:
            found[name] = frozenset(indices)
    done = {(f[0], f[1]) for f in finished if _finished(f, len(job.configurations))}
    return Resume(job.id, found, frozenset(done))


def _pair(value: Any, count: int) -> bool:
    whole = isinstance(value, list) and len(value) == 2 and all(type(i) is int for i in value)
    return whole and 0 <= value[0] <= value[1] < count


def _finished(value: Any, configurations: int) -> bool:
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], str):
        return False
    return type(value[0]) is int and 0 <= value[0] < configurations


@dataclass(frozen=True)
class JobFolder:
    """A job and the folder that its files lie in."""

    folder: Path
    job: Job

    def path(self, relative: str) -> Path:
        """Where a file of the job lies; `UserError` for a path that isn't allowed."""
        return self.folder.joinpath(*check_path(relative).split("/"))

    def contents(self) -> tuple[tuple[str, str], ...]:
        """(relative path, sha256) of everything that a device needs beside `job.json`."""
        job = self.job
        one = [job.manifest, *job.golden, *job.files]
        if job.inputs.kind == "images":
            return _pairs([*one, *job.inputs.items])
        return _pairs([*one, job.inputs])

    def resume(self) -> Resume:
        """What `resume.json` says, or nothing held where there is none."""
        path = self.folder / RESUME_FILE
        if not path.is_file():
            return Resume(self.job.id)
        return parse_resume(path.read_bytes(), self.job)


def _pairs(entries: Iterable[Any]) -> tuple[tuple[str, str], ...]:
    return tuple((e.path, e.sha256) for e in entries)


def load_job(folder: Path, verify: bool = True) -> JobFolder:
    """The job in `folder`; with `verify`, that every file is there and has its hash.

    Nothing outside the folder is read: no link is followed, no device or pipe opened.
    Raises `UserError` that names the first file that is missing, is no plain file or differs.
    """
    path = folder / JOB_FILE
    if not folder.is_dir() or not _is_plain(path):
        raise UserError(f"{folder} is no job folder: it has no {JOB_FILE}")
    if path.stat().st_size > MAX_JSON:
        raise UserError(f"{path} is larger than {MAX_JSON >> 20} MiB")
    loaded = JobFolder(folder, parse_job(path.read_bytes(), str(path)))
    if verify:
        verify_files(loaded)
    return loaded


def verify_files(loaded: JobFolder) -> None:
    """Raises `UserError` naming the first file of the job that isn't what the job says."""
    sizes = {f.path: f.bytes for f in loaded.job.files}
    shape = loaded.job.inputs.shape
    if shape is not None:
        sizes[loaded.job.inputs.path or ""] = shape[0] * shape[1] * shape[2] * shape[3]
    for relative, sha256 in loaded.contents():
        path = loaded.path(relative)
        for parent in list(path.relative_to(loaded.folder).parents)[:-1]:
            if (loaded.folder / parent).is_symlink():
                raise UserError(f"{loaded.folder / parent} is a link; a job holds plain files only")
        files = plain_files(path)
        size = sum(p.stat().st_size for p in files)
        if relative in sizes and size != sizes[relative]:
            raise UserError(f"{path} has {size} bytes, the job says {sizes[relative]}")
        if file_sha256(path) != sha256:
            raise UserError(f"{path} is not the file of its job (sha256 differs)")


def plain_files(path: Path) -> list[Path]:
    """The file itself, or all files of a package; `UserError` for links, pipes and devices."""
    if _is_plain(path):
        return [path]
    if path.is_symlink() or not path.is_dir():
        what = "isn't a plain file" if path.exists() or path.is_symlink() else "is missing"
        raise UserError(f"{path} {what}; build the job again")
    files = []
    for entry in sorted(path.rglob("*")):
        if entry.is_symlink() or not (entry.is_dir() or _is_plain(entry)):
            raise UserError(f"{entry} isn't a plain file; build the job again")
        if not entry.is_dir():
            files.append(entry)
    return files


def _is_plain(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False
