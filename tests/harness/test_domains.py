"""Lines of the right types that say what can't be: refused, counted by reason, never believed."""

from __future__ import annotations

import numpy as np
import pytest

from mobilemod.harness.drivers.host import HostDriver
from mobilemod.harness.protocol.domains import Domains
from mobilemod.harness.protocol.job import (
    Configuration,
    Hashed,
    Inputs,
    Item,
    Job,
    JobFile,
    LatencyPlan,
)
from mobilemod.harness.protocol.lines import PROTOCOL, Line, decode, encode
from mobilemod.harness.record.answers import Answers, accuracy_entry, judge
from mobilemod.harness.run.validate import validate_devices
from mobilemod.harness.worker.digest import logits_sha256, top
from mobilemod.tasks.classification import TASK
from tests.harness.conftest import IMAGES, Host
from tests.harness.devices import Changed, resigned
from tests.harness.test_session import config, nothing_lost

HEX = "ab" * 32
LOGITS = np.arange(6, dtype=np.float32) / 4
JOB = Job(
    HEX, "tiny", Hashed("manifest.json", HEX),
    (JobFile("a", "models/a", HEX, 1, "tflite", "int8"),),
    Inputs("images", 3, tuple(Item(str(n), 5, f"inputs/{n}", HEX) for n in range(3))),
    (Hashed("golden/0.png", HEX),), (Configuration("a", 1, "cpu"),), latency=LatencyPlan(),
)  # fmt: skip
GOOD = {
    "hello": {"protocol": PROTOCOL, "device": {"memory_bytes": 2**33, "cores": 8}, "app": {},
              "runtimes": {}},
    "load": {"configuration": 0, "seconds": 0.5, "cold": 0, "first_inference_ms": 3,
             "fallback": {"SOFTMAX": 2}},
    "golden": {"configuration": 0, "image": 0, "source": "pixels", "logits": LOGITS.tolist()},
    "image": {"configuration": 0, "image": 1, "top": top(LOGITS), "inference_ms": 2.5,
              "logits_sha256": logits_sha256(LOGITS), "logits": LOGITS.tolist(),
              "preprocess_ms": 0},
    "times": {"configuration": 0, "phase": "steady", "first": 64, "ms": [1.5, 2], "at": [2, 2.1]},
    "state": {"temperature_c": -3, "battery": {"level": 0.5, "charging": True}, "memory_bytes": 5,
              "frequencies_hz": [1e9]},
    "done": {"answered": 1, "timed": 2, "errors": 3},
}  # fmt: skip


def line(kind: str, seq: int = 0, t: float = 9.0, **changes: object) -> Line:
    """A line that the codec takes."""
    head = {"type": kind, "job": HEX[:16], "run": "f" * 16, "seq": seq, "t": t}
    values = {k: v for k, v in {**GOOD[kind], **changes}.items() if v is not None}
    return decode(encode({**head, **values}))


@pytest.mark.parametrize("kind", GOOD)
def test_what_can_be_is_taken(kind):
    domains = Domains(JOB, 6)
    assert domains.accept(line(kind)) and not domains.refused


SWAPPED = [top(LOGITS)[n] for n in (1, 0, 2, 3, 4)]


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("hello", {"device": {"memory_bytes": 2**60}}, "memory_bytes"),
        ("hello", {"device": {"cores": 0}}, "cores"),
        ("hello", {"protocol": "mobilemod/harness/9"}, "protocol"),
        ("load", {"seconds": 1e300}, "seconds"),
        ("load", {"seconds": 60}, "fit into the time"),
        ("load", {"first_inference_ms": 0}, "first_inference_ms"),
        ("load", {"cold": 2**53}, "cold"),
        ("load", {"fallback": {"X": 2**50}}, "fallback"),
        ("load", {"configuration": 1}, "configuration"),
        ("golden", {"logits": [1, 2]}, "number of logits"),
        ("golden", {"image": 1}, "image"),
        ("image", {"image": 3}, "image that the job doesn't have"),
        ("image", {"inference_ms": 1e300}, "inference_ms"),
        ("image", {"inference_ms": 0}, "inference_ms"),
        ("image", {"inference_ms": 60_000}, "fit into the time"),
        ("image", {"preprocess_ms": 1e12}, "preprocess_ms"),
        ("image", {"logits_sha256": "0" * 64}, "zeros"),
        ("image", {"logits_sha256": "1" * 64}, "digest"),
        ("image", {"top": SWAPPED}, "best first"),
        ("image", {"top": [[5, 9.0], *top(LOGITS)[1:]]}, "that of the logits"),
        ("image", {"top": top(LOGITS)[:3]}, "that of the logits"),
        ("image", {"top": [[2, 1.0], [2, 1.0]], "logits": None}, "twice"),
        ("image", {"top": [[6, 1.0]], "logits": None}, "doesn't have"),
        ("image", {"top": [[1, 1.0], [0, 1.0]], "logits": None}, "best first"),
        ("image", {"top": [[1, None], [0, 1.0]], "logits": None}, "without a logit"),
        ("image", {"logits": [1, 2]}, "number of logits"),
        ("times", {"ms": [1e300, 1]}, "ms is outside"),
        ("times", {"ms": [0, 1]}, "ms is outside"),
        ("times", {"ms": [9_000, 9_000], "at": [0, 0]}, "fit into|ends after"),
        ("times", {"at": [3, 2]}, "backwards"),
        ("times", {"at": [3, 20]}, "ends after"),
        ("times", {"first": 2**53}, "first"),
        ("times", {"phase": "sustained"}, "doesn't ask"),
        ("state", {"memory_bytes": 2**53}, "memory_bytes"),
        ("state", {"temperature_c": 1e300}, "temperature_c"),
        ("state", {"temperature_c": -300}, "temperature_c"),
        ("state", {"battery": {"level": 55}}, "battery.level"),
        ("state", {"frequencies_hz": [1e300]}, "frequencies_hz"),
        ("state", {"t": 1e300}, "t is outside"),
        ("done", {"answered": 10**6}, "more answers"),
        ("done", {"timed": 2**53}, "timed"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_reason(kind, changes, reason):
    domains = Domains(JOB, 6)
    assert not domains.accept(line(kind, **changes))
    ((said, count),) = domains.refused.items()
    assert count == 1 and any(part in said for part in reason.split("|")), said
    assert domains.accept(line(kind, seq=1))


def test_lines_are_judged_by_those_before_them():
    domains = Domains(JOB, 6)
    assert domains.accept(line("image", 0, 100.0))
    assert not domains.accept(line("state", 1, 50.0))
    other = {"logits": None, "top": top(-LOGITS)}
    assert not domains.accept(line("image", 2, 101.0, image=2, **other))
    assert domains.accept(line("times", 3, 102.0, at=[99, 99.5]))
    assert not domains.accept(line("times", 4, 103.0, at=[100, 100.5]))
    ms = [1.9e3] * 50
    for seq, first in enumerate((100, 200), 5):
        at = [5 + 1.9 * n for n in range(50)]
        assert domains.accept(line("times", seq, 104.0, first=first, ms=ms, at=at)) is (seq == 5)
    assert [r.partition(": ")[2] for r in domains.refused] == [
        "t goes backwards", "the digest of another answer", "an index that was timed before",
        "more inferences than fit into the time",
    ]  # fmt: skip


def test_an_image_with_a_logit_that_is_not_finite_is_told_and_wrong():
    values = LOGITS.copy()
    values[0] = np.nan
    logits = [None, *LOGITS[1:].tolist()]
    few = {"logits": None, "top": top(LOGITS)[:2], "image": 2}
    answers = Answers()
    for seq, changes in enumerate(({"image": 0}, {"logits": logits, "top": top(values)}, few)):
        found = line("image", seq, **changes)
        assert Domains(JOB, 6).accept(found)
        answers.add(found)
    entry = accuracy_entry(judge(JOB, answers, 6, None, TASK), "a", None, TASK)
    assert (entry["images"], entry["non_finite"]) == (3, 2)
    assert entry["top1_percent"] == pytest.approx(100 / 3)


def test_forged_lines_of_a_device_are_counted_and_asked_for_again(tiny, images):
    """The first start's answers are forged; the second's count."""

    def change(raw: bytes, number: int, start: int) -> bytes:
        if start == 0 and b'"type":"image"' in raw:
            return resigned(raw, logits_sha256="0" * 64)
        if start == 0 and b'"type":"times"' in raw:
            return resigned(raw, ms=[1e300] * len(decode(raw)["ms"]))
        return raw

    (record,), _ = validate_devices(config(tiny, images), Host, lambda _: Changed(change))
    assert record["refused"]["image: a digest of zeros"] == 2 * IMAGES
    assert record["counts"]["impossible_lines"] == sum(record["refused"].values())
    assert record["counts"]["answered"] == 2 * IMAGES
    assert record["counts"]["missing"] == 0
    for file in record["files"]:
        assert file["accuracy"]["host"]["identical"] == IMAGES


def test_an_honest_device_is_refused_nothing(tiny, images):
    (record,), _ = validate_devices(config(tiny, images), Host, lambda _: HostDriver())
    nothing_lost(record, runs=1)
    assert record["refused"] == {} and record["counts"]["impossible_lines"] == 0
