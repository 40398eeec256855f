"""Jobs that somebody changed: refused in one line, or they stay inside; by both readers alike."""

from __future__ import annotations

import contextlib
import json
import random

import pytest

from mobilemod.errors import UserError
from mobilemod.harness.drivers.host import HostDriver
from mobilemod.harness.protocol.job import JOB_FILE, LatencyPlan, job_id
from mobilemod.harness.protocol.job_read import parse_job, parse_resume
from mobilemod.harness.run.job_build import Plan, build_job
from mobilemod.harness.run.job_schema import check_job
from mobilemod.manifest import load_bundle

HOSTILE = (
    None, True, -1, 0, 1, 2**70, 1e308, 0.5, "", "../../etc/passwd", "/etc/passwd", "a/../../b",
    "x" * 5000, "\ud800", "貓", [], [[]], [None] * 3, {}, {"path": "../x", "sha256": "0" * 64},
    {"a": {"b": {}}}, ["a", 1], "0" * 64, "images", "pixels",
)  # fmt: skip


def _places(value, at=()):
    yield at
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        yield from _places(inner, (*at, key))


def _with(values, place, new):
    copy = json.loads(json.dumps(values))
    if not place:
        return new
    inner = copy
    for key in place[:-1]:
        inner = inner[key]
    if isinstance(inner, dict) != isinstance(place[-1], str):
        raise TypeError(place)
    inner[place[-1]] = new
    return copy


def _refused_by_schema(values) -> str | None:
    """What the published schema says against a job; None where it is one."""
    try:
        check_job(values, JOB_FILE, "build it again")
    except (UserError, UnicodeEncodeError) as error:
        return str(error)
    return None


def test_ten_thousand_hostile_jobs_are_refused_or_stay_inside(built, tmp_path):
    """Values changed one or two at a time, the id made right, read and checked to the end; the
    published schema refuses the same ones."""
    values = json.loads((built.folder.folder / JOB_FILE).read_text())
    values["inputs"]["items"] = values["inputs"]["items"][:3]
    values["inputs"]["count"] = 3
    places = list(_places(values))
    rng = random.Random(9)
    before = sorted(tmp_path.rglob("*"))
    taken = 0
    for _ in range(10_000):
        changed = values
        for _ in range(rng.randint(1, 2)):
            place = rng.choice(places)
            try:
                changed = _with(changed, place, rng.choice(HOSTILE))
            except (KeyError, IndexError, TypeError):
                continue
        if isinstance(changed, dict):
            with contextlib.suppress(UnicodeEncodeError):  # of a lone surrogate there is no digest
                changed["id"] = job_id(changed)
        said = _refused_by_schema(changed)
        try:
            job = parse_job(json.dumps(changed).encode())
        except UserError as error:
            assert "\n" not in str(error) and said is not None and "\n" not in said
            continue
        assert said is None
        taken += 1
        for entry in (job.manifest, *job.golden, *job.files, *job.inputs.items):
            inside = (tmp_path / (entry.path or ".")).resolve()
            assert entry.path is None or inside.is_relative_to(tmp_path)
    assert 0 < taken < 9_000
    assert sorted(tmp_path.rglob("*")) == before


def test_broken_bytes_of_a_job_are_one_line(built):
    raw = (built.folder.folder / JOB_FILE).read_bytes()
    rng = random.Random(3)
    for _ in range(1_000):
        changed = bytearray(raw)
        at = rng.randrange(len(changed))
        changed[at : at + rng.randint(0, 9)] = rng.randbytes(rng.randint(0, 9))
        try:
            assert parse_job(bytes(changed)) == built.folder.job
        except UserError as error:
            assert "\n" not in str(error)
        for parse in (lambda b: parse_resume(b, built.folder.job),):
            with pytest.raises(UserError):
                parse(bytes(changed))


def test_a_misspelled_key_is_one_that_is_missing(built):
    values = json.loads((built.folder.folder / JOB_FILE).read_text())
    assert _refused_by_schema(values) is None
    for place in _places(values):
        if not place or isinstance(place[-1], int):
            continue
        changed = json.loads(json.dumps(values))
        inner = changed
        for key in place[:-1]:
            inner = inner[key]
        inner[f"{place[-1]}_"] = inner.pop(place[-1])
        if place != ("id",):
            changed["id"] = job_id(changed)
        said = _refused_by_schema(changed) or ""
        assert said.startswith(f"{JOB_FILE}: ") and place[-1] in said


def test_what_no_device_takes_is_said_where_the_job_is_built(tiny, images, tmp_path):
    plan = Plan(latency=LatencyPlan(min_seconds=1e9))
    with pytest.raises(UserError, match=r"job\.json: latency\.min_seconds: .*change what is meas"):
        build_job(load_bundle(tiny), images, HostDriver(), plan, tmp_path / "job")
    assert not (tmp_path / "job").exists()
