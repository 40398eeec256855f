"""The folder of a job, which nobody has to trust: its files, each held against its hash.

Needs the standard library and a few small modules of mobilemod: this file also runs on devices.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from mobilemod.errors import UserError
from mobilemod.files import file_sha256
from mobilemod.harness.protocol.job import JOB_FILE, RESUME_FILE, Job, Resume
from mobilemod.harness.protocol.job_read import MAX_JSON, parse_job, parse_resume
from mobilemod.harness.protocol.values import check_path


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
        inputs = job.inputs.items if job.inputs.kind == "images" else (job.inputs,)
        hashed = (job.manifest, *job.golden, *job.files, *inputs)
        return tuple((entry.path, entry.sha256) for entry in hashed)

    def files(self) -> dict[str, Path]:
        """Every file that a device needs by its path in the job, packages file by file.

        `job.json` too, and `resume.json` where it is there. Raises `UserError` for links, pipes and
        devices.
        """
        names = [name for name, _ in self.contents()] + [JOB_FILE]
        if (self.folder / RESUME_FILE).exists():
            names.append(RESUME_FILE)
        found = {}
        for name in names:
            path = self.path(name)
            for file in plain_files(path):
                found[check_path(file.relative_to(self.folder).as_posix(), str(path))] = file
        return found

    def resume(self) -> Resume:
        """What `resume.json` says, or nothing held where there is none."""
        path = self.folder / RESUME_FILE
        if not path.is_file():
            return Resume(self.job.id)
        return parse_resume(path.read_bytes(), self.job)


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
