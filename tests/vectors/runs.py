"""Jobs with scripted engines, and the lines that every runner must write of them.

README.md says what a case holds. The expected lines are those of the worker in Python.
"""

from __future__ import annotations

import base64
import dataclasses
import gc
import hashlib
import json
import struct
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from mobilemod.harness.protocol.job import JOB_FILE, RESUME_FILE, RESUME_SCHEMA, job_id
from mobilemod.harness.protocol.lines import encode
from mobilemod.harness.worker import execute as worker
from mobilemod.harness.worker.runtimes import Loaded, Unavailable
from tests.vectors import png

SIZE, CLASSES = 32, 3
LOGITS = [0.5, 2.0, 1.0]
DELEGATE = "xnnpack"
FLOAT, INT8, OTHER = "a_float32.tflite", "a_int8.tflite", "b_int8.tflite"
FRAME = 31.25  # ms, exact in seconds, milliseconds and nanoseconds
KEPT = (
    "type", "configuration", "phase", "image", "source", "cold", "first", "where", "fatal",
    "answered", "timed", "errors",
)  # fmt: skip
PLAN = {"warm_up_seconds": 0, "warm_up_max": 3, "min_runs": 5, "min_seconds": 0, "cold_starts": 1}


def shade(value: int) -> bytes:
    """A PNG of SIZE x SIZE, all of one grey: a multiple of 17."""
    row = b"\0" + bytes([value // 17 * 0x11]) * (SIZE // 2)
    return png.encode(SIZE, SIZE, 4, 0, row * SIZE)


GOLDEN = {f"golden/{n}.png": shade(17 * (1 + n)) for n in range(2)}
IMAGES = {f"inputs/{n:06d}.png": shade(17 * (3 + n)) for n in range(5)}
BROKEN = "inputs/broken.png"
PACKED = "inputs/pixels.bin"
MODELS = {f"models/{name}": name.encode() for name in (INT8, FLOAT, OTHER)}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def model(name: str) -> dict[str, Any]:
    """A file as both the job and the manifest have it."""
    data = MODELS[f"models/{name}"]
    precision = "float32" if name == FLOAT else "int8"
    return {"target": "tflite", "precision": precision, "sha256": sha256(data), "bytes": len(data)}


def manifest() -> bytes:
    preprocess = {
        "size": SIZE, "crop_fraction": 1.0, "interpolation": "bicubic", "mean": [0.5] * 3,
        "std": [0.5] * 3, "color": "RGB", "layout": "NCHW",
    }  # fmt: skip
    names = (INT8, FLOAT, OTHER)
    values = {
        "schema": "mobilemod/manifest/1", "model": "a", "num_classes": CLASSES,
        "labels": [{"id": f"n{c}", "label": f"class {c}"} for c in range(CLASSES)],
        "preprocess": preprocess, "tools": {}, "recipe": {"name": "cpu", "file": "recipe.json"},
        "files": [{"file": name, **model(name)} for name in names],
        "golden": [{"image": path, "logits": dict.fromkeys(names, LOGITS)} for path in GOLDEN],
    }  # fmt: skip
    return json.dumps(values).encode()


def files() -> dict[str, bytes]:
    """Path -> content of everything that a case's job may name."""
    packed = b"".join(bytes([17 * (3 + n)]) * (SIZE * SIZE * 3) for n in range(2))
    return {
        "manifest.json": manifest(), **MODELS, **GOLDEN, **IMAGES, BROKEN: b"no image",
        PACKED: packed,
    }  # fmt: skip


FILES = files()


def hashed(path: str) -> dict[str, str]:
    return {"path": path, "sha256": sha256(FILES[path])}


def configuration(
    file: str, threads: int, delegate: str = DELEGATE, self_test_only: bool = False
) -> dict[str, Any]:
    return {
        "file": file, "threads": threads, "delegate": delegate, "self_test_only": self_test_only,
    }  # fmt: skip


def job(
    names: tuple[str, ...] = (INT8, FLOAT),
    threads: tuple[int, ...] = (1,),
    golden: int = 1,
    images: int | tuple[str, ...] = 0,
    packed: bool = False,
    **changes: Any,
) -> dict[str, Any]:
    """A job. images: how many, or their paths. packed: two images as one raw file."""
    paths = tuple(IMAGES)[:images] if isinstance(images, int) else images
    inputs: dict[str, Any] = {
        "kind": "images", "count": len(paths),
        "items": [{"name": path, "target": 0, **hashed(path)} for path in paths],
    }  # fmt: skip
    if packed:
        inputs = {
            "kind": "pixels", "count": 2, "items": [{"name": "x", "target": 0}] * 2,
            **hashed(PACKED), "shape": [2, SIZE, SIZE, 3],
        }  # fmt: skip
    twin = FLOAT if FLOAT in names else None
    values = {
        "schema": "mobilemod/job/1", "model": "a", "manifest": hashed("manifest.json"),
        "files": [
            {"name": name, "path": f"models/{name}", **model(name),
             "twin": None if name == FLOAT else twin}
            for name in names
        ],
        "inputs": inputs, "golden": [hashed(path) for path in tuple(GOLDEN)[:golden]],
        "configurations": [
            configuration(name, count) for count in threads for name in names
        ],
        "accuracy": inputs["count"] > 0, "latency": None, "sustained_seconds": 0, "logits": True,
        **changes,
    }  # fmt: skip
    return {**values, "id": job_id(values)}


def with_units(values: dict[str, Any], *units: tuple[str, str]) -> dict[str, Any]:
    """A job with the self-test of files on further units: (file, delegate)."""
    more = [configuration(name, 1, delegate, True) for name, delegate in units]
    rest = {**values, "configurations": [*values["configurations"], *more]}
    return {**rest, "id": job_id(rest)}


def engine(
    refuses: Iterable[int] = (),
    fails: Iterable[tuple[int, int | None]] = (),
    ms: Iterable[float] = (FRAME,),
    logits: list[float | None] = LOGITS,
    lacks: Iterable[int] = (),
) -> dict[str, Any]:
    """A script; see README.md."""
    return {
        "refuses": list(refuses), "lacks": list(lacks), "fails": [list(pair) for pair in fails],
        "ms": list(ms), "logits": logits,
    }  # fmt: skip


def case(
    name: str,
    job: dict[str, Any],
    engines: dict[int, dict[str, Any]] | None = None,
    resume: dict[str, Any] | None = None,
    held: Iterable[dict[str, Any] | str] = (),
    changed: dict[str, bytes] | None = None,
) -> dict[str, Any]:
    """A case without what comes out. engines: scripts by configuration, where they aren't the
    plain one. held: lines of an earlier start, as values or as damaged text."""
    stream = []
    for seq, values in enumerate(held):
        if isinstance(values, dict):
            head = {"job": job["id"][:16], "run": "0" * 16, "seq": seq, "t": seq / 2}
            values = encode({"type": values["type"], **head, **values}).decode().rstrip("\n")
        stream.append(values)
    return {
        "name": name,
        "job": job,
        "engines": [(engines or {}).get(i, engine()) for i in range(len(job["configurations"]))],
        "changed": {k: base64.b64encode(v).decode() for k, v in (changed or {}).items()},
        "resume": resume and {"schema": RESUME_SCHEMA, "job": job["id"], **resume},
        "held": stream,
    }


def answer(configuration: int, image: int) -> dict[str, Any]:
    """An `image` line of an earlier start."""
    return {
        "type": "image", "configuration": configuration, "image": image,
        "top": [[1, 2.0], [2, 1.0], [0, 0.5]], "logits": LOGITS,
        "logits_sha256": sha256(struct.pack("<3f", *LOGITS)),
        "preprocess_ms": 1.0, "inference_ms": 2.0,
    }  # fmt: skip


def finished(configuration: int, phase: str) -> dict[str, Any]:
    return {"type": "finished", "configuration": configuration, "phase": phase}


def order_cases() -> list[dict[str, Any]]:
    """What is run in which order, and what is fed."""
    some = tuple(IMAGES)
    whole = job(
        golden=2,
        images=(some[0], BROKEN, some[1]),
        latency={**PLAN, "cold_starts": 3},
        sustained_seconds=0.25,
    )
    threads = job(threads=(1, 2), images=1, latency=PLAN)
    apart = [configuration(name, count) for name, count in ((FLOAT, 1), (INT8, 2), (INT8, 1))]
    return [
        case("everything", whole),
        case("two thread counts", threads),
        case("no golden image: grey is fed", job(golden=0, latency=PLAN, sustained_seconds=0.25)),
        case("no cold start asked for: one load", job(latency={**PLAN, "cold_starts": 0})),
        case("sustained alone", job(names=(INT8,), sustained_seconds=0.25)),
        case("one twin of two files", job(names=(INT8, OTHER, FLOAT), latency=PLAN)),
        case("a twin listed first", job(names=(FLOAT, OTHER), latency=PLAN)),
        case("one alone between twins", job(latency=PLAN, configurations=apart)),
        case("packed pixels", job(packed=True)),
        case("no logits asked for", job(names=(INT8,), images=2, logits=False)),
        case("logits that aren't finite", job(names=(INT8,), images=2),
             {0: engine(logits=[None] * 3)}),
        case("equal logits", job(names=(INT8,), images=1), {0: engine(logits=[1.0, None, 1.0])}),
        case("a wrong self-test", job(names=(INT8,), images=1, latency=PLAN),
             {0: engine(logits=[9.0, -2.0, 0.0])}),
        case("a changed file", job(images=1), changed={f"models/{FLOAT}": b"another"}),
    ]  # fmt: skip


def timing_cases() -> list[dict[str, Any]]:
    """When warm-up and timing end, and how many values a line has."""
    falling = [FRAME / 4 * max(1, 12 - n // 2) for n in range(24)]
    fast, slow = FRAME / 16, 250.0
    alone = {"names": (INT8,), "golden": 1}
    both = dict.fromkeys((0, 1), engine(ms=[fast]))
    until_stable = {**PLAN, "warm_up_max": 60}
    return [
        case("warm-up ends where it is stable", job(**alone, latency=until_stable)),
        case("warm-up of two goes on until both are stable", job(latency=until_stable),
             {1: engine(ms=falling)}),
        case("warm-up ends at its most", job(latency={**PLAN, "warm_up_max": 20}),
             {1: engine(ms=[FRAME / 8 * (40 - 2 * n) for n in range(20)])}),
        case("warm-up lasts its seconds", job(latency={**PLAN, "warm_up_seconds": 0.5})),
        case("warm-up alone lasts its seconds",
             job(**alone, latency={**PLAN, "warm_up_seconds": 0.625})),
        case("no warm-up", job(latency={**PLAN, "warm_up_max": 0})),
        case("timing lasts its seconds", job(latency={**PLAN, "min_seconds": 0.5})),
        case("timing alone lasts its seconds",
             job(**alone, latency={**PLAN, "min_seconds": 0.34375})),
        case("nothing to time", job(latency={**PLAN, "min_runs": 0})),
        case("lines of 64 values", job(latency={**PLAN, "min_runs": 70}), both),
        case("lines of 64 values, alone", job(**alone, latency={**PLAN, "min_runs": 135}), both),
        case("lines of a second", job(latency={**PLAN, "min_runs": 7, "warm_up_max": 1}),
             {0: engine(ms=[slow]), 1: engine(ms=[FRAME])}),
        case("lines of a second, alone", job(**alone, latency={**PLAN, "min_runs": 9}),
             {0: engine(ms=[slow])}),
    ]  # fmt: skip


def failure_cases() -> list[dict[str, Any]]:
    """What ends a configuration. Of a configuration's inferences, 0 is the first load's own."""
    cold = {**PLAN, "cold_starts": 3}
    all_of_it = {"images": 5, "latency": PLAN, "sustained_seconds": 0.25}
    some = tuple(IMAGES)
    broken_between = (some[0], some[1], BROKEN, some[2], some[3])
    return [
        case("a file that doesn't load", job(**all_of_it), {0: engine(refuses=range(9))}),
        case("no file loads", job(**all_of_it), dict.fromkeys((0, 1), engine(refuses=range(9)))),
        case("the second cold start fails", job(latency=cold), {0: engine(refuses=[2])}),
        case("the twin's cold start fails", job(latency=cold), {1: engine(refuses=[1])}),
        case("the sustained load fails", job(sustained_seconds=0.25), {0: engine(refuses=[1])}),
        case("the first inference fails", job(**all_of_it), {0: engine(fails=[(0, None)])}),
        case("the self-test fails", job(**{**all_of_it, "golden": 2}), {0: engine(fails=[(3, 3)])}),
        case("one image fails", job(**all_of_it), {0: engine(fails=[(4, 4)])}),
        case("two images in a row, and two", job(**all_of_it),
             {0: engine(fails=[(3, 4), (6, 7)])}),
        case("three images in a row", job(**all_of_it), {0: engine(fails=[(4, 6)])}),
        case("every image fails from the second on", job(**all_of_it),
             {1: engine(fails=[(4, None)])}),
        case("an unreadable image within the row",
             job(**{**all_of_it, "images": broken_between}), {0: engine(fails=[(4, 6)])}),
        case("warm-up fails", job(latency=PLAN), {0: engine(fails=[(6, None)])}),
        case("timing fails", job(latency=PLAN), {0: engine(fails=[(9, None)])}),
        case("the twin's timing fails", job(latency=PLAN), {1: engine(fails=[(9, None)])}),
        case("both fail", job(latency=PLAN), dict.fromkeys((0, 1), engine(fails=[(9, None)]))),
        case("timing alone fails", job(names=(INT8,), latency={**PLAN, "min_runs": 20}),
             {0: engine(fails=[(12, None)])}),
        case("the sustained run fails", job(sustained_seconds=0.5), {0: engine(fails=[(7, None)])}),
    ]  # fmt: skip


def resume_cases() -> list[dict[str, Any]]:
    """Started again after a cut."""
    both = job(images=3, latency=PLAN)
    checked = [finished(0, "golden"), *(answer(0, i) for i in range(3)), finished(0, "accuracy")]
    checked += [finished(1, "golden"), *(answer(1, i) for i in range(3)), finished(1, "accuracy")]
    ranges = {INT8: [[0, 2]], FLOAT: [[0, 2]]}
    phases = [[i, phase] for phase in ("golden", "accuracy") for i in (0, 1)]
    latency = [[0, "latency"], [1, "latency"]]
    torn = '{"type":"image","job":"'
    broken = job(images=(*tuple(IMAGES)[:2], BROKEN))
    return [
        case("its own stream, cut within a line", both,
             held=[finished(0, "golden"), answer(0, 0), answer(0, 2), torn]),
        case("cut within latency", both, held=checked),
        case("one of a pair was timed", both, held=[*checked, finished(0, "latency")]),
        case("an answer of a finished accuracy is missing", both,
             held=[*checked[:2], *checked[3:]]),
        case("an image was unreadable", broken,
             held=[finished(0, "golden"), answer(0, 0), {"type": "unreadable", "image": 2,
                                                         "message": "no image"}]),
        case("resume.json", both,
             resume={"answered": {INT8: [[0, 0], [2, 2]]}, "finished": [[0, "golden"]]}),
        case("resume.json and its own stream", both,
             resume={"answered": {INT8: [[0, 0]]}, "finished": [[0, "golden"]]},
             held=[answer(0, 1), answer(1, 2)]),
        case("nothing is left", both,
             resume={"answered": ranges, "finished": phases + latency}),
    ]  # fmt: skip


def unit_cases() -> list[dict[str, Any]]:
    """Units that nothing is measured on, and what a device can't run."""
    whole = job(golden=2, images=2, latency=PLAN, sustained_seconds=0.25)
    on_gpu = with_units(whole, (INT8, "gpu"), (FLOAT, "gpu"), (INT8, "npu"))
    one = with_units(job(names=(INT8,), images=1, latency=PLAN), (INT8, "gpu"))
    first = {**one, "configurations": one["configurations"][::-1]}
    first["id"] = job_id(first)
    without = with_units(job(golden=0, latency=PLAN), (INT8, "gpu"))
    never = engine(lacks=range(9))
    nothing = {"type": "unavailable", "configuration": 0, "message": "no such unit"}
    alone = {"type": "unavailable", "configuration": 2, "message": "no such unit"}
    return [
        case("units beyond the first: the self-test alone, last", on_gpu,
             {2: engine(logits=[9.0, -2.0, 0.0])}),
        case("a unit listed first is tested last all the same", first),
        case("units without golden images", without),
        case("a unit that isn't there", on_gpu, {2: never}),
        case("a unit that refuses a file", on_gpu, {3: engine(refuses=range(9))}),
        case("a unit whose first inference fails", on_gpu, {2: engine(fails=[(0, None)])}),
        case("a unit whose self-test fails", on_gpu, {2: engine(fails=[(2, 2)])}),
        case("a measured unit that isn't there", on_gpu, {0: never}),
        case("a measured unit that goes", whole, {0: engine(lacks=[1])}),
        case("units that weren't there before aren't tried again", on_gpu,
             held=[nothing, alone, finished(3, "golden")]),
        case("a unit that was tested isn't tested again", on_gpu,
             resume={"answered": {}, "finished": [[2, "golden"], [4, "golden"]]}),
    ]  # fmt: skip


class Scripted:
    """The engines of a case: a clock that they alone move, and a log of what they are fed."""

    def __init__(self, job: dict[str, Any], engines: list[dict[str, Any]]):
        self.configurations, self.engines = job["configurations"], engines
        self.seconds = 0.0
        self.loads, self.inferences = [0] * len(engines), [0] * len(engines)
        self.calls: list[list[int]] = []

    def load(self, path: Path, threads: int, delegate: str) -> Loaded:
        wanted = (path.name, threads, delegate)
        keys = ("file", "threads", "delegate")
        index = [tuple(c[k] for k in keys) for c in self.configurations].index(wanted)
        script = self.engines[index]
        number = self.loads[index]
        self.loads[index] += 1
        if number in script["lacks"]:
            raise Unavailable("no such unit")
        if number in script["refuses"]:
            raise RuntimeError("refused")
        since = 0
        fed: list[np.ndarray] = []

        def invoke() -> None:
            nonlocal since
            self._log(index, round(float(fed[-1].flat[0] * 0.5 + 0.5) * 255))
            call = self.inferences[index]
            self.inferences[index] += 1
            if any(a <= call and (b is None or call <= b) for a, b in script["fails"]):
                raise RuntimeError("failed")
            self.seconds += script["ms"][min(since, len(script["ms"]) - 1)] / 1e3
            since += 1

        def logits() -> np.ndarray:
            return np.array([np.nan if v is None else v for v in script["logits"]], np.float32)

        return Loaded(lambda x: x, fed.append, invoke, logits, "scripted")

    def _log(self, index: int, value: int) -> None:
        if self.calls and self.calls[-1][:2] == [index, value]:
            self.calls[-1][2] += 1
        else:
            self.calls.append([index, value, 1])


def skeleton(line: dict[str, Any]) -> dict[str, Any]:
    """A line without what differs between devices and times."""
    found = {k: line[k] for k in KEPT if line.get(k) is not None}
    if "ms" in line:
        found["count"] = len(line["ms"])
    if "top" in line:
        found["top"] = [c for c, _ in line["top"]]
    if line["type"] in ("image", "golden"):
        found["logits"] = line.get("logits")
    if "runs" in line:
        found |= {k: line[k] for k in ("runs", "logits_sha256") if k in line}
    return found


def run(case: dict[str, Any], files: Mapping[str, bytes] = FILES) -> dict[str, Any]:
    """`lines` and `calls` of the worker in Python. files: of every job's folder."""
    scripted = Scripted(case["job"], case["engines"])
    litert = worker.RUNTIMES["tflite"]
    runtime = dataclasses.replace(litert, load=scripted.load, prepare=lambda: None)
    sent: list[bytes] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        changed = {k: base64.b64decode(v) for k, v in case["changed"].items()}
        for path, data in {**files, **changed}.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes(data)
        (folder / JOB_FILE).write_text(json.dumps(case["job"]), "utf-8")
        if case["resume"]:
            (folder / RESUME_FILE).write_text(json.dumps(case["resume"]), "utf-8")
        held = "\n".join(case["held"]).encode()
        with (
            patch.dict(worker.RUNTIMES, {"tflite": runtime}),
            # In a process of many modules it takes half a second, and there are hundreds of loads.
            patch.object(gc, "collect"),
            suppress(worker.Refused),
        ):
            worker.execute(folder, sent.append, "test", held, lambda: scripted.seconds)
    return {"lines": [skeleton(json.loads(raw)) for raw in sent], "calls": scripted.calls}


def contents() -> dict[str, Any]:
    """Files of every job, the grey of those that are images, and the cases."""
    return with_results(
        [*order_cases(), *timing_cases(), *failure_cases(), *resume_cases(), *unit_cases()], FILES
    )


def with_results(cases: Iterable[dict[str, Any]], files: Mapping[str, bytes]) -> dict[str, Any]:
    """A file of cases with what comes out. files: of every job's folder."""
    shades = {path: 17 * (1 + n) for n, path in enumerate((*GOLDEN, *IMAGES))}
    return {
        "files": {path: base64.b64encode(data).decode() for path, data in files.items()},
        "shades": shades,
        "cases": [{**c, **run(c, files)} for c in cases],
    }
