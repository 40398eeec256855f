"""The line codec of docs/harness-protocol.md: what a device writes and the harness reads.

The standard library alone: this file also runs on devices.

Writing:  `writer = Writer(job_id, send)`, then `writer.line("hello", protocol=PROTOCOL, …)`.
Reading:  `reader = Reader(job_id)`, then `for line in reader.feed(bytes): …` as bytes arrive, and
`reader.close()` at the stream's end. What isn't a line is counted in `reader.counts`, never raised.
"""

from __future__ import annotations

import json
import math
import re
import secrets
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

PROTOCOL = "mobilemod/harness/1"
MAX_LINE = 1 << 20
TIMES_PER_LINE = 64
# Of lines that the harness itself adds to a stream.
OWN_RUN = "0" * 16
PHASES = ("golden", "accuracy", "latency", "sustained")
TIMED_PHASES = ("warm-up", "steady", "sustained")
THERMAL = ("nominal", "fair", "serious", "critical")

_TAIL = re.compile(rb',"crc":"([0-9a-f]{8})"\}\Z')
_HEX16 = re.compile(r"[0-9a-f]{16}\Z")
_HEX64 = re.compile(r"[0-9a-f]{64}\Z")
_LARGEST = 2**53  # what every language's numbers hold exactly


class Damaged(ValueError):
    """Bytes that are no line of the protocol; the message says what is wrong with them."""


@dataclass(frozen=True)
class Line:
    """One checked line. job: first 16 digits of the job's id. t: seconds since the run began.

    values: the keys that its type has, without those above, as JSON has them.
    """

    type: str
    job: str
    run: str
    seq: int
    t: float
    values: dict[str, Any]

    def __getitem__(self, key: str) -> Any:
        """A value of the line's type; None where an optional one isn't there."""
        return self.values.get(key)


# -- what each type holds


def _index(v: Any) -> bool:
    return isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= _LARGEST


def _number(v: Any) -> bool:
    return isinstance(v, int | float) and not isinstance(v, bool) and abs(v) <= 1e300


def _float32(v: Any) -> bool:
    return v is None or (_number(v) and abs(v) <= 3.4028234663852886e38)


def _duration(v: Any) -> bool:
    return _number(v) and v >= 0


def _text(v: Any) -> bool:
    return isinstance(v, str)


def _flag(v: Any) -> bool:
    return isinstance(v, bool)


def _scalar(v: Any) -> bool:
    return v is None or isinstance(v, bool) or _number(v) or (isinstance(v, str) and len(v) <= 1024)


def _facts(v: Any) -> bool:
    """An object of plain values."""
    return isinstance(v, dict) and len(v) <= 64 and all(map(_scalar, v.values()))


def _counts(v: Any) -> bool:
    """How many by name."""
    return isinstance(v, dict) and len(v) <= 256 and all(map(_index, v.values()))


def _fallback(v: Any) -> bool:
    """How many ops, or how many by their names, or their names."""
    if isinstance(v, dict):
        return _counts(v)
    return _index(v) or _list(_text, 256)(v)


def _one_of(*names: str) -> Callable[[Any], bool]:
    return lambda v: v in names if isinstance(v, str) else False


def _or_null(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda v: v is None or check(v)


def _list(check: Callable[[Any], bool], most: int, least: int = 0) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, list) and least <= len(v) <= most and all(map(check, v))


def _digest(v: Any) -> bool:
    return isinstance(v, str) and _HEX64.match(v) is not None


def _ranked(v: Any) -> bool:
    """[class, logit]."""
    return isinstance(v, list) and len(v) == 2 and _index(v[0]) and _float32(v[1])


def _battery(v: Any) -> bool:
    return _facts(v) and _or_null(_duration)(v.get("level"))


_logits = _list(_float32, 65_536, 1)
_runs = _list(_index, 2 << 20, 2)
_times = _list(_duration, TIMES_PER_LINE, 1)

# By type: what must be there, and what may be there (null or absent where it isn't known).
REQUIRED: dict[str, dict[str, Callable[[Any], bool]]] = {
    "hello": {"protocol": _text, "device": _facts, "app": _facts, "runtimes": _facts},
    "load": {"configuration": _index, "seconds": _duration, "cold": _index},
    "golden": {
        "configuration": _index,
        "image": _index,
        "source": _one_of("pixels", "image"),
    },
    "image": {
        "configuration": _index,
        "image": _index,
        "top": _list(_ranked, 5),
        "logits_sha256": _digest,
    },
    "unreadable": {"image": _index, "message": _text},
    "unavailable": {"configuration": _index, "message": _text},
    "times": {
        "configuration": _index,
        "phase": _one_of(*TIMED_PHASES),
        "first": _index,
        "ms": _times,
        "at": _times,
    },
    "state": {},
    "finished": {"configuration": _index, "phase": _one_of(*PHASES)},
    "error": {"where": _text, "message": _text, "fatal": _flag},
    "done": {"answered": _index, "timed": _index, "errors": _index},
}
OPTIONAL: dict[str, dict[str, Callable[[Any], bool]]] = {
    "hello": {"wall": _text},
    "load": {
        "first_inference_ms": _duration,
        "runtime": _text,
        "partitions": _index,
        "fallback": _fallback,
        "accelerated": _flag,
        "placed": _counts,
    },
    "golden": {"logits": _logits, "runs": _runs},
    "image": {
        "logits": _logits,
        "runs": _runs,
        "preprocess_ms": _duration,
        "inference_ms": _duration,
    },
    "state": {
        "thermal": _one_of(*THERMAL),
        "temperature_c": _number,
        "battery": _battery,
        "memory_bytes": _index,
        "frequencies_hz": _list(_duration, 4096),
    },
    "error": {"configuration": _index, "image": _index},
}
_HEAD = {
    "type": _text,
    "job": lambda v: isinstance(v, str) and _HEX16.match(v) is not None,
    "run": lambda v: isinstance(v, str) and _HEX16.match(v) is not None,
    "seq": _index,
    "t": _duration,
}


def check_line(values: Any) -> Line:
    """The line that a decoded JSON object is; raises `Damaged` where a key doesn't hold.

    Keys that the type doesn't have are left out. A type that isn't known is a line too, as a newer
    device may have it; nothing is known of its values, so it has none.
    """
    if not isinstance(values, dict):
        raise Damaged("no JSON object")
    for key, check in _HEAD.items():
        if not check(values.get(key)):
            raise Damaged(f"{key} is missing or wrong")
    kind = values["type"]
    head = (kind, values["job"], values["run"], values["seq"], float(values["t"]))
    if kind not in REQUIRED:
        return Line(*head, {})
    for key, check in REQUIRED[kind].items():
        if not check(values.get(key)):
            raise Damaged(f"{kind}: {key} is missing or wrong")
    for key, check in OPTIONAL.get(kind, {}).items():
        if values.get(key) is not None and not check(values[key]):
            raise Damaged(f"{kind}: {key} is wrong")
    if kind == "times" and len(values["ms"]) != len(values["at"]):
        raise Damaged("times: ms and at differ in length")
    answers = [values[key] for key in ("logits", "runs") if values.get(key) is not None]
    if kind == "golden" and len(answers) != 1:
        raise Damaged("golden: neither logits nor runs, or both")
    if kind == "image" and values.get("runs") is not None and (values["top"] or len(answers) != 1):
        raise Damaged("image: runs beside logits")
    known = {**REQUIRED[kind], **OPTIONAL.get(kind, {})}
    return Line(*head, {k: values[k] for k in known if values.get(k) is not None})


# -- bytes


def finite(value: Any) -> Any:
    """`value` as the protocol has it: a float that isn't finite as None, in lists and objects."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value


def printable(text: Any, most: int = 500) -> str:
    """What a device said, as a terminal may show it: on one line, no control characters."""
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(str(text).split()))[:most]


def encode(values: Mapping[str, Any]) -> bytes:
    """One line with its check and newline, of JSON-ready values with the keys in their order.

    Raises ValueError for values that would be no line, or one of more than 1 MiB.
    """
    check_line(dict(values))
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    body = text[:-1].encode("utf-8")
    line = b'%s,"crc":"%08x"}\n' % (body, zlib.crc32(body))
    if len(line) > MAX_LINE:
        raise ValueError(f"a line of {len(line)} bytes; at most {MAX_LINE}")
    return line


def decode(raw: bytes) -> Line:
    """The line in `raw`, with or without its newline; raises `Damaged` for anything else."""
    if len(raw) > MAX_LINE:
        raise Damaged(f"longer than {MAX_LINE} bytes")
    raw = raw.rstrip(b"\r\n")
    tail = _TAIL.search(raw)
    if tail is None:
        raise Damaged("ends with no check")
    body = raw[: tail.start()]
    if zlib.crc32(body) != int(tail[1], 16):
        raise Damaged("its check fails")
    try:
        text = raw.decode("utf-8")
        values = json.loads(text, parse_constant=_refuse)
        # A lone surrogate comes out of an escape and couldn't be written again.
        if "\\u" in text:
            json.dumps(values, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise Damaged(f"no JSON: {type(error).__name__}") from None
    return check_line(values)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


class Writer:
    """Writes the lines of one run: counts `seq`, stamps `t`, hands each line's bytes to `send`.

    job: the job's whole id. `t` comes from the monotonic clock, so that a clock that is set in
    mid-job changes nothing.
    """

    def __init__(
        self,
        job: str,
        send: Callable[[bytes], object],
        clock: Callable[[], float] = time.monotonic,
        run: str | None = None,
        seq: int = 0,
    ):
        self.job, self.run, self.seq = job[:16], run or secrets.token_hex(8), seq
        self._send, self._clock, self._begin = send, clock, clock()

    def now(self) -> float:
        """Seconds since the run's start."""
        return self._clock() - self._begin

    def line(self, kind: str, **values: Any) -> None:
        """Write one line of a type."""
        head = {"type": kind, "job": self.job, "run": self.run, "seq": self.seq}
        self._send(encode({**head, "t": round(self.now(), 6), **finite(values)}))
        self.seq += 1


@dataclass
class Reader:
    """Takes a stream apart: lines that are new, and counts of everything else.

    job: the whole id of the job that is expected. counts: `lines` (new ones), `damaged` (no line,
    a failed check, a wrong value, or cut off at the stream's end), `repeated` ((run, seq) seen
    before), `foreign` (of another job). first_damage: what was wrong with the first damaged line.
    """

    job: str
    counts: Counter[str] = field(default_factory=Counter)
    first_damage: str | None = None
    _seen: set[tuple[str, int]] = field(default_factory=set)
    _rest: bytes = b""
    _skipping: bool = False

    def feed(self, data: bytes) -> list[Line]:
        """The new lines that end within `data`; what is left waits for the next call."""
        *ended, self._rest = (self._rest + data).split(b"\n")
        found = [line for raw in ended if (line := self._take(raw)) is not None]
        if len(self._rest) > MAX_LINE:
            # Never more than one line in memory, whatever a device sends.
            self._rest, self._skipping = b"", True
        return found

    def close(self) -> list[Line]:
        """The stream has ended: a last line without its newline counts if it is whole."""
        raw, self._rest = self._rest, b""
        line = self._take(raw) if raw or self._skipping else None
        return [] if line is None else [line]

    def _take(self, raw: bytes) -> Line | None:
        if self._skipping:
            self._skipping = False
            return self._damage(f"longer than {MAX_LINE} bytes")
        if not raw.strip():
            return None
        try:
            line = decode(raw)
        except Damaged as error:
            return self._damage(str(error))
        if line.job != self.job[:16]:
            self.counts["foreign"] += 1
            return None
        if (line.run, line.seq) in self._seen:
            self.counts["repeated"] += 1
            return None
        self._seen.add((line.run, line.seq))
        self.counts["lines"] += 1
        return line

    def _damage(self, message: str) -> None:
        self.counts["damaged"] += 1
        self.first_damage = self.first_damage or message
