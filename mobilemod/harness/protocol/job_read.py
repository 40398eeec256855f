"""`job.json` and `resume.json`, which nobody has to trust, read by hand: devices have no pydantic.

`mobilemod/harness/run/job_schema.py` says the same as a published schema.
"""

from __future__ import annotations

import json
from typing import Any

from mobilemod.errors import UserError
from mobilemod.harness.protocol.job import (
    DELEGATES,
    JOB_FILE,
    KINDS,
    MAX_CONFIGURATIONS,
    MAX_FILES,
    MAX_GOLDEN,
    MAX_ITEMS,
    MAX_THREADS,
    RESUME_FILE,
    RESUME_SCHEMA,
    SCHEMA,
    Configuration,
    Hashed,
    Inputs,
    Item,
    Job,
    JobFile,
    LatencyPlan,
    Resume,
    job_id,
)
from mobilemod.harness.protocol.values import Values, short
from mobilemod.targets import TARGETS

MAX_JSON = 64 << 20


def parse_job(raw: bytes, where: str = JOB_FILE) -> Job:
    """The job in the bytes of a `job.json`; `UserError` for anything that isn't one."""
    values = _read_json(raw, where)
    v = Values(values, where)
    v.text("schema", (SCHEMA,))
    job = Job(
        id=v.digest("id"),
        model=v.text("model"),
        manifest=_hashed(v.object("manifest")),
        files=v.items("files", MAX_FILES, _job_file),
        inputs=_inputs(v.object("inputs")),
        golden=v.items("golden", MAX_GOLDEN, _hashed),
        configurations=v.items("configurations", MAX_CONFIGURATIONS, _configuration),
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
        if job.first_configuration(c.file) is None:
            raise UserError(f"{where}: {short(c.file)} has no configuration that is measured")
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
    if not whole or shape[0] != len(items) or shape[3] != 3:
        raise v.fail("shape", f"[{len(items)}, H, W, 3]")
    if not all(1 <= side <= 4096 for side in shape[1:3]):
        raise v.fail("shape", "sides from 1 to 4096")
    return Inputs(kind, len(items), items, v.path(), v.digest(), tuple(shape))


def _configuration(v: Values) -> Configuration:
    threads = v.whole("threads", 1, MAX_THREADS)
    file, delegate = v.text("file", most=255), v.text("delegate", DELEGATES)
    return Configuration(file, threads, delegate, v.flag("self_test_only"))


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
