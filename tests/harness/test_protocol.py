"""The line codec: what it writes it reads, and nothing that comes in can break it."""

from __future__ import annotations

import json
import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilemod.harness.protocol.lines import (
    MAX_LINE,
    OPTIONAL,
    PROTOCOL,
    REQUIRED,
    Damaged,
    Line,
    Reader,
    Writer,
    decode,
    encode,
)
from mobilemod.harness.run.job_build import fits_line

JOB = "0123456789abcdef" * 4
HEAD = {"job": JOB[:16], "run": "f" * 16, "seq": 0, "t": 0.5}
FACTS = {"protocol": PROTOCOL, "device": {"kind": "host"}, "app": {}, "runtimes": {"LiteRT": "2"}}
# One good line of each type, every optional key there.
GOOD = {
    "hello": {**FACTS, "wall": "2026-01-01T00:00:00+00:00"},
    "load": {"configuration": 0, "seconds": 0.5, "cold": 0, "first_inference_ms": 3, "runtime": "x",
             "partitions": 1, "fallback": {"SOFTMAX": 2}, "accelerated": False,
             "placed": {"GPU": 40, "CPU": 2}},
    "unavailable": {"configuration": 0, "message": "x"},
    "golden": {"configuration": 0, "image": 0, "source": "image", "logits": [0.5, None]},
    "image": {"configuration": 0, "image": 1, "top": [[3, 0.5], [1, None]], "inference_ms": 2.5,
              "logits_sha256": "a" * 64, "logits": [1, 2.5], "preprocess_ms": 1},
    "unreadable": {"image": 2, "message": "貓"},
    "times": {"configuration": 0, "phase": "steady", "first": 64, "ms": [1.5], "at": [0.25]},
    "state": {"thermal": "fair", "temperature_c": -3, "battery": {"level": 0.5, "charging": True},
              "memory_bytes": 5, "frequencies_hz": [1e9]},
    "finished": {"configuration": 0, "phase": "latency"},
    "error": {"where": "job", "message": "m", "fatal": False, "configuration": 1, "image": 2},
    "done": {"answered": 1, "timed": 2, "errors": 3},
}  # fmt: skip


# And one where the answer is a map.
MAPS = {
    "golden": {"configuration": 0, "image": 0, "source": "pixels", "runs": [0, 5, 254, 1, 0, 6]},
    "image": {"configuration": 0, "image": 1, "top": [], "inference_ms": 2.5,
              "logits_sha256": "a" * 64, "runs": [255, 12], "preprocess_ms": 1},
}  # fmt: skip


def signed(text: str) -> bytes:
    """A line whose check is right, whatever stands in it. text: a JSON object."""
    body = text[:-1].encode("utf-8", "surrogatepass")
    return b'%s,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def lines(count: int) -> list[bytes]:
    out: list[bytes] = []
    writer = Writer(JOB, out.append, run="a" * 16)
    kinds = list(GOOD)
    for n in range(count):
        kind = kinds[n % len(kinds)]
        writer.line(kind, **GOOD[kind])
    return out


def test_the_examples_are_every_type_with_every_key():
    assert set(GOOD) == set(REQUIRED)
    for kind, values in GOOD.items():
        keys = {*values, *MAPS.get(kind, {})}
        assert keys == set(REQUIRED[kind]) | set(OPTIONAL.get(kind, {}))


@pytest.mark.parametrize(("kind", "values"), [*GOOD.items(), *MAPS.items()])
def test_a_line_comes_back_as_it_went(kind, values):
    line = decode(encode({"type": kind, **HEAD, **values}))
    assert line == Line(kind, HEAD["job"], HEAD["run"], 0, 0.5, values)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("golden", {"logits": [1.0]}),
        ("golden", {"runs": None}),
        ("golden", {"runs": []}),
        ("golden", {"runs": [0, 1.5]}),
        ("golden", {"runs": [0, True]}),
        ("golden", {"runs": [0, -1]}),
        ("golden", {"runs": "0,1"}),
        ("golden", {"runs": [0, 2**60]}),
        ("image", {"logits": [1.0]}),
        ("image", {"top": [[0, 1.0]]}),
        ("image", {"runs": [[0, 1]]}),
    ],
)
def test_a_map_stands_alone_and_is_whole_numbers(kind, changes):
    with pytest.raises(Damaged, match=kind):
        decode(signed(json.dumps({"type": kind, **HEAD, **MAPS[kind], **changes})))


def test_the_longest_map_that_fits_a_line_does():
    pixels = next(n for n in range(MAX_LINE // 6, 0, -1) if fits_line(n, 255))
    assert pixels > 417**2
    runs = [n for i in range(pixels) for n in (253 + i % 2, 1)]
    line = {"type": "image", **HEAD, **MAPS["image"], "run": "f" * 16, "seq": 2**53, "t": 1e6 / 3}
    assert len(decode(encode({**line, "runs": runs}))["runs"]) == 2 * pixels


def test_the_check_is_zlibs_of_what_stands_before_it():
    raw = encode({"type": "finished", **HEAD, **GOOD["finished"]})
    body, _, tail = raw.partition(b',"crc":"')
    assert tail == b'%08x"}\n' % zlib.crc32(body)


@pytest.mark.parametrize("kind", GOOD)
def test_every_required_key_is_required_and_of_its_kind(kind):
    for key in REQUIRED[kind]:
        rest = {k: v for k, v in GOOD[kind].items() if k != key}
        for wrong in (rest, {**rest, key: None}, {**rest, key: [[[]]]}, {**rest, key: "\x00?"}):
            if kind == "hello" and key == "protocol" and wrong.get(key) == "\x00?":
                continue
            if (
                isinstance(GOOD[kind][key], str)
                and wrong.get(key) == "\x00?"
                and key in ("message", "where")
            ):
                continue
            with pytest.raises(Damaged, match=key):
                decode(signed(json.dumps({"type": kind, **HEAD, **wrong})))


def test_values_that_are_not_finite_are_null():
    out: list[bytes] = []
    logits = [float("nan"), float("inf"), 1.0]
    Writer(JOB, out.append).line("golden", configuration=0, image=0, source="pixels", logits=logits)
    assert decode(out[0])["logits"] == [None, None, 1.0]


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"done","job":"%s","run":"%s","seq":0,"t":1e999,"answered":0,"timed":0,"errors":0}',
        '{"type":"done","job":"%s","run":"%s","seq":0,"t":NaN,"answered":0,"timed":0,"errors":0}',
        '{"type":"done","job":"%s","run":"%s","seq":-1,"t":0,"answered":0,"timed":0,"errors":0}',
        '{"type":"done","job":"%s","run":"%s","seq":true,"t":0,"answered":0,"timed":0,"errors":0}',
        '{"type":"done","job":"%s","run":"%s","seq":0.5,"t":0,"answered":0,"timed":0,"errors":0}',
        '{"type":"unreadable","job":"%s","run":"%s","seq":0,"t":0,"image":0,"message":"\\ud800"}',
        '{"type":["done"],"job":"%s","run":"%s","seq":0,"t":0}',
    ],
)
def test_values_that_no_other_language_would_take(text):
    with pytest.raises(Damaged):
        decode(signed(text % (HEAD["job"], HEAD["run"])))


def test_deep_and_long_lines_are_damaged():
    for text in ("[" * 200_000 + "]" * 200_000, '{"a":' * 90_000 + "1" + "}" * 90_000):
        with pytest.raises(Damaged):
            decode(signed(text))
    with pytest.raises(Damaged):
        decode(signed('{"t":' + "9" * 10_000 + "}"))
    reader = Reader(JOB)
    good = lines(1)[0]
    found = reader.feed(b"x" * (3 * MAX_LINE)) + reader.feed(b"y" * MAX_LINE + b"\n" + good)
    assert len(found) == 1 and reader.counts == {"damaged": 1, "lines": 1}


def test_an_unknown_type_is_a_line_and_unknown_keys_are_left_out():
    line = decode(signed(json.dumps({"type": "weather", **HEAD, "rain": True})))
    assert (line.type, line.values) == ("weather", {})
    line = decode(signed(json.dumps({"type": "finished", **HEAD, **GOOD["finished"], "new": 1})))
    assert line.values == GOOD["finished"]


@given(st.lists(st.integers(1, 400), max_size=200), st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_however_a_stream_is_cut_it_gives_the_same_lines(cuts, count):
    data = b"".join(lines(count))
    reader, found, at = Reader(JOB), [], 0
    for cut in cuts:
        found += reader.feed(data[at : at + cut])
        at += cut
    found += reader.feed(data[at:]) + reader.close()
    assert [line.seq for line in found] == list(range(count))
    assert reader.counts["lines"] == count and reader.counts["damaged"] == 0


def test_repeated_and_foreign_lines_are_counted_and_dropped():
    data = lines(12)
    other: list[bytes] = []
    Writer("f" * 64, other.append).line("finished", configuration=0, phase="golden")
    reader = Reader(JOB)
    found = reader.feed(b"".join([*data, *data[3:7], *other]))
    assert len(found) == 12
    assert reader.counts == {"lines": 12, "repeated": 4, "foreign": 1}


def test_a_cut_line_costs_itself_alone():
    data = lines(10)
    reader = Reader(JOB)
    stream = b"".join(data[:4]) + data[4][:-9] + b"\n" + b"".join(data[5:])
    assert [line.seq for line in reader.feed(stream)] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert reader.counts["damaged"] == 1 and reader.first_damage == "ends with no check"


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Bytes of a stream after something happened to them."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del changed[at : at + rng.randint(1, 80)]
        elif kind == 2:
            changed[at:at] = rng.randbytes(rng.randint(1, 40))
        elif kind == 3:
            changed[at:at] = changed[: rng.randint(0, 200)]
        else:
            changed[at:at] = rng.choice([b"\n", b"\r\n", b"\x00", b"\xff\xfe", b'"}', b'{"type":'])
    return bytes(changed)


def test_ten_thousand_damaged_streams_give_undamaged_lines_alone():
    """A line that comes out is one that went in: its check holds."""
    rng = random.Random(5)
    sent = lines(40)
    known = {decode(raw).seq: decode(raw) for raw in sent}
    damaged = 0
    for _ in range(10_000):
        start = rng.randrange(35)
        reader = Reader(JOB)
        found = reader.feed(mutate(b"".join(sent[start : start + 3]), rng)) + reader.close()
        assert all(known[line.seq] == line for line in found)
        damaged += reader.counts["damaged"]
    assert damaged > 3_000
