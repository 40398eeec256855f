"""Takes in a job that a sample app made and ran by itself: its accuracy screen's two files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mobilemod.data.imagefolder import ImageFolder
from mobilemod.errors import UserError, shown
from mobilemod.files import atomic_folder, check_regular, file_sha256, only_one
from mobilemod.harness.protocol.domains import Domains
from mobilemod.harness.protocol.held import Held
from mobilemod.harness.protocol.job import Job
from mobilemod.harness.protocol.job_folder import JobFolder
from mobilemod.harness.protocol.job_read import MAX_JSON, parse_job
from mobilemod.harness.protocol.lines import Line, Reader, printable
from mobilemod.harness.record.gates import DeviceGates
from mobilemod.harness.record.host_side import HostSide
from mobilemod.harness.record.merge import Sources
from mobilemod.harness.run.app_images import Here
from mobilemod.harness.run.job_build import in_pairs
from mobilemod.harness.run.run_files import (
    FOLDER,
    RUN_FILE,
    describe,
    described,
    folder_name,
    unused,
    write_record,
    write_reports,
)
from mobilemod.harness.run.session import LINES_FILE, read_lines
from mobilemod.manifest import Bundle, load_bundle

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class AppJobConfig:
    """bundle: that the app was built with. job, lines: the files that the app saved.

    images: among which the app's may be, for this machine's answers to them; None: nothing is
    compared with this machine.
    """

    bundle: Path
    job: Path
    lines: Path
    images: ImageFolder | None = None
    gates: DeviceGates = field(default_factory=DeviceGates)


def read_app_job(
    config: AppJobConfig, make_host: Callable[[Bundle, ImageFolder | None], HostSide]
) -> tuple[dict[str, Any], Path, int]:
    """The record, the report's path, and how many of the app's images are among `config.images`.

    Results lie as those of `validate_devices`, the device called by what it says of itself; the
    same files taken in again replace what they gave before. Without golden images in the job there
    is no self-test; where this machine answers none of the images an int8 file's drop is that
    against its float file on the device.

    Raises `UserError`, and then nothing is written, where a file is none of an app's, the job isn't
    of this bundle's files, or its lines are of another job, damaged, or end before the job does.
    """
    bundle = load_bundle(config.bundle)
    text, job = _read_job(config.job, bundle)
    check_regular(config.lines)
    domains = Domains.of(job, bundle.manifest)
    lines, reader, held, _ = read_lines(config.lines, job, domains)
    _require_whole(config.lines, job, reader, held, domains)
    host = Here.of(bundle, job, config.images, make_host)
    device, started = _device(lines), datetime.now(UTC)
    folder = config.bundle / FOLDER / folder_name(device)
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder, "measuring into"):
        place = _before(folder, job, config.lines) or unused(folder, started)
        sources = Sources(
            device=device,
            folder=JobFolder(bundle.folder, job),
            bundle=bundle,
            lines=lines,
            reader=reader,
            held=held,
            refused=dict(domains.refused),
            damaged=(),
            reason=None,
            lost=(),
            extra={},
            sample=True,
            started=started.isoformat(timespec="seconds"),
        )
        with atomic_folder(place) as out:
            shutil.copyfile(config.lines, out / LINES_FILE)
            describe(out, device, job.id, text, started)
            gates = _gates(config.gates, job, bool(host.names))
            record = write_record(out, sources, host, gates, None)
    return record, write_reports(config.bundle, [record]), len(host.names)


def _read_job(path: Path, bundle: Bundle) -> tuple[str, Job]:
    """The text of a `job.json` and its job, whose files are this bundle's; int8 files with their
    float ones, whatever the app paired."""
    check_regular(path)
    if path.stat().st_size > MAX_JSON:
        raise UserError(f"{shown(path)} is larger than {MAX_JSON >> 20} MiB; give the app's job")
    raw = path.read_bytes()
    try:
        job = parse_job(raw, shown(path))
    except UserError as error:
        raise UserError(f"{error}; give the app's job first, then its lines") from None
    manifest, where = bundle.manifest, f"{shown(path)} is no job of {shown(bundle.folder)}"
    mend = "give the bundle that the app was built with"
    if manifest.map is not None:
        raise UserError(f"{where}: maps are measured by 'mobilemod validate --device'")
    known = {f.file: (f.sha256, f.bytes, f.target, f.precision) for f in manifest.files}
    for f in job.files:
        if f.name not in known:
            raise UserError(f"{where}, which has no file {printable(f.name)}; {mend}")
        if (f.sha256, f.bytes, f.target, f.precision) != known[f.name]:
            raise UserError(f"{where}, whose {f.name} is another one (sha256 differs); {mend}")
    golden = {(g.image, g.sha256) for g in manifest.golden}
    if job.model != manifest.model or not {(g.path, g.sha256) for g in job.golden} <= golden:
        raise UserError(f"{where}, whose network or golden images are others; {mend}")
    files = in_pairs(replace(f, twin=None) for f in job.files)
    return raw.decode("utf-8"), replace(job, files=files)


def _require_whole(path: Path, job: Job, reader: Reader, held: Held, domains: Domains) -> None:
    """`UserError` unless everything that the job asks for is there, or failed on the device."""
    where, counts = shown(path), reader.counts
    if not counts["lines"] and counts["foreign"]:
        raise UserError(f"{where} holds lines of another job; give the two files of one run")
    if not counts["lines"]:
        why = reader.first_damage or "it is empty"
        raise UserError(f"{where} holds no line of the harness ({why}); give the app's lines")
    if held.fatal is not None:
        raise UserError(f"{where}: the device says: {printable(held.fatal)}")
    if all(index in held.failed for index, _ in held.open_phases()):
        return
    missing = sum(len(held.missing(f.name)) for f in job.files)
    said = [f"{missing} of {len(job.files) * job.inputs.count} answers are missing"]
    if counts["damaged"]:
        said.append(f"{counts['damaged']} lines are damaged ({reader.first_damage})")
    if domains.refused:
        (reason, _), *_ = domains.refused.most_common(1)
        said.append(f"{domains.refused.total()} lines say what can't be ({reason})")
    raise UserError(
        f"{where} isn't whole: {', '.join(said)}; let the app run to its end, and save it again"
    )


def _device(lines: Sequence[Line]) -> str:
    """KIND:MODEL as the device says them, of letters that any file system takes."""
    facts = next((line["device"] for line in reversed(lines) if line.type == "hello"), {})
    kind, model = (
        _NOT_IN_NAMES.sub("_", str(facts.get(key) or other))[:64]
        for key, other in (("kind", "device"), ("model", "app"))
    )
    return f"{kind}:{model}"


def _before(folder: Path, job: Job, lines: Path) -> Path | None:
    """Where the same lines of the same job were taken in."""
    digest = file_sha256(lines)
    for path in folder.glob(f"*/{RUN_FILE}"):
        kept = path.with_name(LINES_FILE)
        same = described(path).get("job") == job.id and kept.is_file()
        if same and file_sha256(kept) == digest:
            return path.parent
    return None


def _gates(gates: DeviceGates, job: Job, here: bool) -> DeviceGates:
    """Without those of what such a job doesn't tell. here: whether this machine answers too."""
    if not job.golden:
        gates = replace(gates, self_test=False)
    if not here:
        paired = all(f.twin is not None for f in job.files if f.precision == "int8")
        gates = replace(gates, min_agreement=None, max_drop=gates.max_drop if paired else None)
    return gates
