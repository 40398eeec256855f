"""The worker in Python runs the jobs that every runner is held against, as the protocol says."""

from __future__ import annotations

import json

import pytest

from tests.vectors import maps, runs
from tests.vectors.make import FOLDER

CASES, OF_MAPS = (
    {c["name"]: c for c in json.loads((FOLDER / name).read_text("utf-8"))["cases"]}
    for name in ("runs.json", "maps_runs.json")
)
# What is timed without a golden image.
GREY = 128


@pytest.mark.parametrize("name", CASES)
def test_lines_and_inferences_are_those_of_the_vectors(name):
    assert runs.run(CASES[name]) == {k: CASES[name][k] for k in ("lines", "calls")}


@pytest.mark.parametrize("name", OF_MAPS)
def test_lines_of_maps_are_those_of_the_vectors(name):
    case = OF_MAPS[name]
    assert runs.run(case, maps.FILES) == {k: case[k] for k in ("lines", "calls")}
    answers = [line for line in case["lines"] if line["type"] in ("golden", "image")]
    assert all(line["runs"] and line["logits"] is None for line in answers)
    assert all(line.get("top", []) == [] for line in answers)


def of(name: str, kind: str, *keys: str) -> list[tuple]:
    return [
        tuple(line.get(k) for k in keys) for line in CASES[name]["lines"] if line["type"] == kind
    ]


def test_every_kind_of_line_is_in_some_case():
    kinds = {line["type"] for c in CASES.values() for line in c["lines"]}
    assert kinds == {
        "hello", "load", "golden", "image", "unreadable", "unavailable", "times", "state",
        "finished", "error", "done",
    }  # fmt: skip


def test_three_cold_starts_are_three_loads_beside_that_of_the_self_test():
    loads = of("everything", "load", "configuration", "cold")
    assert [cold for index, cold in loads if index == 0] == [0, 1, 2, 3, 4]
    assert [cold for _, cold in of("cut within latency", "load", "configuration", "cold")] == [1, 1]


def test_three_failing_images_in_a_row_end_a_configuration():
    name = "three images in a row"
    assert of(name, "error", "configuration", "image") == [(0, 1), (0, 2), (0, 3)]
    assert ("accuracy",) not in [p[1:] for p in of(name, "finished", "configuration", "phase")
                                 if p[0] == 0]  # fmt: skip
    assert {index for (index,) in of(name, "times", "configuration")} == {1}
    # Two in a row, twice, do not; but accuracy isn't finished while answers are missing.
    name = "two images in a row, and two"
    assert len(of(name, "error", "image")) == 4
    assert (0, "accuracy") not in of(name, "finished", "configuration", "phase")
    assert (0, "latency") in of(name, "finished", "configuration", "phase")


def test_twins_warm_up_in_turns_until_both_are_stable():
    case = CASES["warm-up of two goes on until both are stable"]
    counts = [0, 0]
    for line in case["lines"]:
        if line.get("phase") == "warm-up":
            counts[line["configuration"]] += line["count"]
    assert counts[0] == counts[1] > 16


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_timed_is_the_first_golden_image_or_grey(case):
    timed = 17 if case["job"]["golden"] else GREY
    inputs = {value for _, value, _ in case["calls"]}
    assert timed in inputs or not inputs
    assert GREY not in inputs or timed == GREY


def test_units_that_nothing_is_measured_on_come_last_with_their_self_test_alone():
    lines = CASES["units beyond the first: the self-test alone, last"]["lines"]
    first = next(n for n, line in enumerate(lines) if line.get("configuration", 0) > 1)
    assert {line.get("configuration") for line in lines[first:]} == {2, 3, 4, None}
    kinds = {line["type"] for line in lines[first:]}
    assert kinds == {"load", "golden", "state", "finished", "done"}
    assert {line.get("source") for line in lines[first:]} == {"pixels", None}


@pytest.mark.parametrize("name,told", [
    ("a unit that isn't there", [2]), ("a unit that refuses a file", [3]),
    ("a unit whose first inference fails", [2]), ("a measured unit that isn't there", [0]),
])  # fmt: skip
def test_what_a_device_cannot_run_is_no_error(name, told):
    assert [i for (i,) in of(name, "unavailable", "configuration")] == told
    assert of(name, "error") == [] and of(name, "done", "errors") == [(0,)]
    assert not [p for p in of(name, "finished", "configuration") if p[0] in told]


def test_states_stand_at_the_beginning_and_before_what_ends():
    for case in CASES.values():
        types = [line["type"] for line in case["lines"]]
        # No case lasts until another is due.
        assert types.count("state") == types.count("finished") + 2 * types.count("done")
        for number, kind in enumerate(types):
            if kind in ("finished", "done"):
                assert types[number - 1] == "state"
        assert types[0] == "hello" and types[1] in ("state", "error")
