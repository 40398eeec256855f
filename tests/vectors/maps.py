"""Networks whose outputs are maps of classes: how a map is told, and jobs of such a network.

README.md says what a case holds.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from mobilemod.evaluation.runs import class_map, to_runs
from tests.vectors import runs as jobs
from tests.vectors.lines import line
from tests.vectors.runs import FLOAT, IMAGES, INT8, PLAN, case, engine, finished, sha256

CLASSES, SIZE = jobs.CLASSES, (2, 4)
PIXELS = SIZE[0] * SIZE[1]
Numbers = list[float | None]


def numbers(*classes: int) -> Numbers:
    """Of a network that answers with these classes: class by class, each row by row."""
    found = np.full((CLASSES, PIXELS), -0.5)
    found[list(classes), np.arange(PIXELS)] = 1.25
    return found.ravel().tolist()


# One run across two rows, one class that isn't there.
PLAIN = numbers(0, 0, 2, 2, 2, 0, 0, 0)
CHECKERED = numbers(0, 1, 0, 1, 0, 1, 0, 1)
EQUAL = [0.5] * PIXELS + [0.5] * PIXELS + [0.25, 0.5, 0.75, 1.0, 0.5, 0.5, 0.5, 0.5]
BROKEN = [None, *PLAIN[1:]]


def map_of(values: Numbers, classes: int, size: tuple[int, int]) -> np.ndarray:
    """What the network answers."""
    floats = np.array([np.nan if v is None else v for v in values], np.float32)
    return class_map(floats.reshape(classes, *size))


def map_case(values: Numbers, classes: int = CLASSES, size: tuple[int, int] = SIZE) -> dict:
    """Numbers, their map, its runs and its digest."""
    found = map_of(values, classes, size)
    return {
        "classes": classes, "map": list(size), "numbers": values, "pixels": found.ravel().tolist(),
        "runs": to_runs(found), "sha256": sha256(found.tobytes()),
    }  # fmt: skip


def map_cases() -> list[dict[str, Any]]:
    """Ties, numbers that aren't finite, one pixel, as many classes as can be."""
    many = np.zeros((255, 1, 3))
    many[[254, 0, 9], 0, [0, 1, 2]] = 1
    drawn = np.random.default_rng(4).standard_normal((5, 7, 6)).astype(np.float32)
    return [
        map_case(PLAIN), map_case(CHECKERED), map_case(EQUAL), map_case(BROKEN),
        map_case([None] * CLASSES * PIXELS), map_case(numbers(*[1] * PIXELS)),
        map_case([0.25, -1.0], 2, (1, 1)), map_case(many.ravel().tolist(), 255, (1, 3)),
        map_case([-0.0, 0.0, 0.0, -0.0], 2, (2, 1)),
        map_case([float(v) for v in drawn.ravel()], 5, (7, 6)),
    ]  # fmt: skip


def protocol() -> dict[str, Any]:
    """Lines with maps, and maps."""
    job, digest = hashlib.sha256(b"job").hexdigest(), map_case(PLAIN)["sha256"]
    head = {"job": job[:16], "run": "00112233445566aa"}
    golden = {
        "type": "golden", **head, "seq": 1, "t": 0.5, "configuration": 0, "image": 0,
        "source": "pixels", "runs": [0, 2, 2, 3, 0, 3],
    }  # fmt: skip
    image = {
        "type": "image", **head, "seq": 3, "t": 1.25, "configuration": 0, "image": 7, "top": [],
        "logits_sha256": digest, "runs": [0, 2, 2, 3, 0, 3], "preprocess_ms": 3.5,
        "inference_ms": 5,
    }  # fmt: skip
    plain = {**golden, "logits": [0.5, 1.5]}
    del plain["runs"]
    good = [golden, image, plain, {**golden, "logits": None}, {**image, "logits": None}]
    bad = [
        {**golden, "logits": [0.5, 1.5]},
        {**golden, "runs": None},
        {**golden, "runs": []},
        {**golden, "runs": "0,8"},
        {**golden, "runs": [0, 7.5]},
        {**golden, "runs": [0, -8]},
        {**golden, "runs": [0, True]},
        {**image, "logits": [0.5, 1.5]},
        {**image, "top": [[0, 1.5]]},
        {**image, "runs": [[0, 8]]},
    ]
    lines = [{"text": line(v), "ok": True, "value": v} for v in good]
    return {
        "lines": lines + [{"text": line(v), "ok": False} for v in bad],
        "maps": map_cases(),
        "no_maps": [
            {"runs": found, "map": list(SIZE), "classes": CLASSES}
            for found in (
                [0, 7], [0, 9], [0, 4, 0, 4], [0, 8, 1], [3, 8], [0, 0, 1, 8], [255, 1, 0, 7],
                [256, 8], [0, 8, 1, 0],
            )
        ],
    }  # fmt: skip


def manifest() -> bytes:
    """As of the other jobs, of a network of maps."""
    values = json.loads(jobs.manifest())
    expected = to_runs(map_of(PLAIN, CLASSES, SIZE))
    golden = [
        {"image": entry["image"], "runs": dict.fromkeys(entry["logits"], expected)}
        for entry in values["golden"]
    ]
    return json.dumps({**values, "task": "segmentation", "map": SIZE, "golden": golden}).encode()


FILES = {**jobs.FILES, "manifest.json": manifest()}


def job(**changes: Any) -> dict[str, Any]:
    """As of `runs.job`, of this manifest."""
    told = {"path": "manifest.json", "sha256": sha256(FILES["manifest.json"])}
    return jobs.job(**{"manifest": told, "logits": False, **changes})


def answer(configuration: int, image: int) -> dict[str, Any]:
    """An `image` line of an earlier start."""
    found = map_case(PLAIN)
    return {
        "type": "image", "configuration": configuration, "image": image, "top": [],
        "logits_sha256": found["sha256"], "runs": found["runs"], "preprocess_ms": 1.0,
        "inference_ms": 2.0,
    }  # fmt: skip


def runs() -> dict[str, Any]:
    """Jobs of a network of maps."""
    some = tuple(IMAGES)
    whole = job(golden=2, images=(some[0], jobs.BROKEN, some[1]), latency=PLAN,
                sustained_seconds=0.25)  # fmt: skip
    units = jobs.with_units(job(golden=2, images=1), (INT8, "gpu"), (FLOAT, "gpu"))
    one = job(names=(INT8,), images=2)
    cases = [
        case("everything", whole, {0: engine(logits=CHECKERED)}),
        case("packed pixels", job(packed=True)),
        case("equal numbers", one, {0: engine(logits=EQUAL)}),
        case("a number that isn't finite", one, {0: engine(logits=BROKEN)}),
        case("one class everywhere", one, {0: engine(logits=numbers(*[1] * PIXELS))}),
        case("logits asked for", job(images=1, logits=True)),
        case("an inference fails", job(images=3), {0: engine(fails=[(3, 3)])}),
        case("its own stream, cut", job(images=3, latency=PLAN),
             held=[finished(0, "golden"), answer(0, 0), answer(0, 2)]),
        case("units beyond the first", units, {2: engine(logits=CHECKERED)}),
    ]  # fmt: skip
    for c in cases:
        for script in c["engines"]:
            script["logits"] = PLAIN if script["logits"] == jobs.LOGITS else script["logits"]
    return jobs.with_results(cases, FILES)
