"""A job's files on the device: each pushed once, known by its hash, checked where it arrived.

Below `FOLDER/mobilemod`: `blobs/SHA256` (files, whole and checked), `incoming/` (not yet),
`jobs/ID/` (job folders, made of links to blobs, or copies where the file system has none),
`records/ID.jsonl` (streams of the runner). No name there comes from outside.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobilemod.errors import UserError
from mobilemod.files import file_sha256
from mobilemod.harness.drivers.adb.client import MINUTE, Device, DiskFull
from mobilemod.harness.drivers.bounded import last_line, whole
from mobilemod.harness.protocol.job_folder import JobFolder
from mobilemod.progress import progress

BATCH_BYTES, BATCH_FILES = 32 << 20, 256
HASHING = 10 * MINUTE
ATTEMPTS = 3
_NOTHING: Mapping[str, Path] = {}

# Prints the hashes of whole files that are there; what is wrong or half is removed.
HELD = """
cd "$1" 2>/dev/null || exit 0
mkdir -p blobs && rm -rf incoming || exit 1
find blobs -type f | xargs -r -n 64 sha256sum | while read -r sum name; do
  if [ "blobs/$sum" = "$name" ]; then echo "$sum"; else rm -f "$name"; fi
done
"""
# What was pushed and is what its name says becomes a blob; the rest is removed.
ACCEPT = """
cd "$1" && chmod 755 . blobs || exit 1
find incoming -type f | xargs -r -n 64 sha256sum | while read -r sum name; do
  if [ "incoming/$sum" = "$name" ]; then
    chmod 644 "$name" && mv -f "$name" "blobs/$sum"
  else
    rm -f "$name"
  fi
done
"""
# Makes the job folder $2 after the plan, a blob of lines "SHA256 PATH".
ASSEMBLE = """
cd "$1" && rm -rf "jobs/$2" && mkdir -p "jobs/$2" records || exit 1
made=
while read -r sum path; do
  case $path in */*) folder=${path%/*} ;; *) folder=. ;; esac
  [ "$folder" = "$made" ] || mkdir -p "jobs/$2/$folder" || exit 1
  made=$folder
  ln "blobs/$sum" "jobs/$2/$path" 2>/dev/null || cp "blobs/$sum" "jobs/$2/$path" || exit 1
done <"blobs/$3"
chmod 755 jobs && chmod -R a+rX "jobs/$2"
"""
# The folders of other jobs. Records stay.
OTHER_JOBS = """
cd "$1" || exit 0
rm -rf incoming
for job in jobs/*; do [ "$job" = "jobs/$2" ] || rm -rf "$job"; done
"""
FREE = 'df -k "$1" | tail -n 1'


@dataclass(frozen=True)
class Entry:
    """A file of the job: where it is here, its path in the job, its hash and size."""

    source: Path
    path: str
    sha256: str
    bytes: int


def entries_of(folder: JobFolder, luggage: Mapping[str, Path] = _NOTHING) -> list[Entry]:
    """Every file that the device needs; raises as `JobFolder.files`.

    luggage: what else goes into the job's folder, path there -> file here. The hashes are of what
    is there now.
    """
    return [
        Entry(file, relative, file_sha256(file), file.stat().st_size)
        for relative, file in {**folder.files(), **luggage}.items()
    ]


@dataclass(frozen=True)
class Store:
    """The harness's folder on a device. folder: absolute path there."""

    device: Device
    folder: str

    def job_path(self, job: str) -> str:
        """Where a job's folder is on the device. job: its id."""
        return f"{self.folder}/jobs/{job}"

    def bring(self, folder: JobFolder, luggage: Mapping[str, Path] = _NOTHING) -> int:
        """Make the job folder on the device; the bytes that had to be pushed for it.

        Raises `UserError` where the device's disk is too full, or files arrive damaged again and
        again.
        """
        entries = entries_of(folder, luggage)
        with tempfile.TemporaryDirectory(prefix="mobilemod-adb-") as name:
            plan = self._plan(entries, Path(name))
            wanted = {e.sha256: e for e in [*entries, plan]}
            with contextlib.suppress(DiskFull):
                return self._bring(wanted, folder.job.id, plan)
            # Earlier jobs' files are worth less than this job.
            self._make_room(wanted, folder.job.id)
            return self._again(wanted, folder.job.id, plan)

    def _bring(self, wanted: dict[str, Entry], job: str, plan: Entry) -> int:
        pushed = self._push_missing(wanted, job)
        check_room(self.device.script(ASSEMBLE, self.folder, job, plan.sha256, timeout=HASHING))
        return pushed

    def _again(self, wanted: dict[str, Entry], job: str, plan: Entry) -> int:
        try:
            return self._bring(wanted, job, plan)
        except DiskFull:
            # A phone is not left full.
            paths = [f"{self.folder}/{name}" for name in ("incoming", "blobs", "jobs")]
            self.device.run("rm", "-rf", *paths, timeout=HASHING)
            need = sum(e.bytes for e in wanted.values())
            raise UserError(
                f"{self.device.serial}: its disk is full: the job needs {need / 1e6:.1f} MB in "
                f"{self.folder}, {self.free_bytes() / 1e6:.1f} MB are free; make room, or "
                "give fewer images"
            ) from None

    def _plan(self, entries: Sequence[Entry], folder: Path) -> Entry:
        text = "".join(f"{e.sha256} {e.path}\n" for e in entries)
        path = folder / "plan"
        path.write_text(text, "ascii")
        return Entry(path, "plan", hashlib.sha256(text.encode()).hexdigest(), len(text))

    def held(self) -> set[str]:
        """Hashes of the files that are whole on the device, checked there now."""
        return set(self.device.script(HELD, self.folder, timeout=HASHING).text.split())

    def _push_missing(self, wanted: dict[str, Entry], job: str) -> int:
        pushed = 0
        for _ in range(ATTEMPTS):
            held = self.held()
            missing = [e for sha256, e in wanted.items() if sha256 not in held]
            if not missing:
                return pushed
            batches = list(batched(missing))
            label = f"to {self.device.serial}"
            for batch in progress(batches, label, len(batches), "batch"):
                self._push(batch)
                pushed += sum(e.bytes for e in batch)
        names = ", ".join(e.path for e in missing[:3])
        raise UserError(f"{self.device.serial}: {names} didn't arrive whole {ATTEMPTS} times")

    def _push(self, batch: Sequence[Entry]) -> None:
        done = self.device.run("mkdir", "-p", f"{self.folder}/incoming", f"{self.folder}/blobs")
        check_room(done)
        with tempfile.TemporaryDirectory(prefix="mobilemod-adb-") as name:
            # adb gives a file its own name there: the hash, by a link.
            links = [Path(name, e.sha256) for e in batch]
            for link, entry in zip(links, batch, strict=True):
                link.symlink_to(entry.source.resolve())
            self.device.push(links, f"{self.folder}/incoming")
        check_room(self.device.script(ACCEPT, self.folder, timeout=HASHING))

    def _make_room(self, wanted: dict[str, Entry], job: str) -> None:
        self.device.script(OTHER_JOBS, self.folder, job, timeout=HASHING)
        stale = sorted(self.held() - set(wanted))
        for i in range(0, len(stale), BATCH_FILES):
            paths = [f"{self.folder}/blobs/{sha256}" for sha256 in stale[i : i + BATCH_FILES]]
            self.device.run("rm", "-f", *paths)

    def free_bytes(self) -> int:
        """Room on the device's file system; 0 where it doesn't say."""
        words = self.device.script(FREE, self.folder).text.split()
        return 1024 * (whole(words[3]) or 0) if len(words) > 4 else 0


def check_room(done) -> None:
    """Raises `DiskFull` or `UserError` for a step that failed on the device."""
    if "No space left" in done.stderr:
        raise DiskFull
    if done.status:
        said = last_line(done.stderr) or f"exit status {done.status}"
        raise UserError(f"the device refuses its folder: {said}")


def batched(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Groups that are pushed in one go: a cable pulled out loses one at most."""
    batch: list[Entry] = []
    for entry in entries:
        size = sum(e.bytes for e in batch)
        if batch and (len(batch) == BATCH_FILES or size + entry.bytes > BATCH_BYTES):
            yield batch
            batch = []
        batch.append(entry)
    if batch:
        yield batch
