"""Devices that something happens to: the real worker on this machine, with faults on its way."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable, Iterator

from mobilemod.harness.drivers import DeviceLost, JobFolder, Receive, Resume
from mobilemod.harness.drivers.host import HostDriver
from mobilemod.harness.protocol.lines import encode


def resigned(raw: bytes, **changes: object) -> bytes:
    """A line with other values and a right check."""
    values = {k: v for k, v in json.loads(raw).items() if k != "crc"}
    return encode({**values, **changes})


def signed(values: object) -> bytes:
    """Any JSON object as a line whose check is right, whether or not it is one of the protocol."""
    body = json.dumps(values, separators=(",", ":"))[:-1].encode()
    return b'%s,"crc":"%08x"}\n' % (body, zlib.crc32(body))


class Changed(HostDriver):
    """Hands every whole line through `change`, which gives what arrives instead of it.

    change: (line, number of the line within this start, number of the start).
    """

    def __init__(self, change: Callable[[bytes, int, int], bytes]):
        self.change, self.starts = change, 0

    def run(self, folder: JobFolder, resume: Resume, receive: Receive) -> None:
        start, rest, number = self.starts, b"", 0
        self.starts += 1

        def arrive(data: bytes) -> None:
            nonlocal rest, number
            *ended, rest = (rest + data).split(b"\n")
            for raw in ended:
                receive(self.change(raw + b"\n", number, start))
                number += 1

        super().run(folder, resume, arrive)


def cable_out(after: int, times: int) -> Callable[[bytes, int, int], bytes]:
    """The link is gone within a line of the first `times` starts."""

    def change(raw: bytes, number: int, start: int) -> bytes:
        if start < times and number == after:
            raise DeviceLost("cable out")
        return raw

    return change


def noisy(seed: int) -> Callable[[bytes, int, int], bytes]:
    """Lines come twice, cut, broken or with garbage between, one in four; less from start 3 on."""
    rng = random.Random(seed)

    def change(raw: bytes, number: int, start: int) -> bytes:
        kind = rng.randrange(16 if start < 3 else 64)
        if kind == 0:
            return raw + raw
        if kind == 1:
            return raw[: rng.randrange(1, len(raw))] + b"\n"
        if kind == 2:
            at = rng.randrange(len(raw) - 1)
            return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        if kind == 3:
            return b"\x00\xff$ rm -rf /\r\n" + rng.randbytes(30).replace(b"\n", b"") + b"\n" + raw
        return raw

    return change


HOSTILE = (
    None, True, -1, 0, 1, 3, 10**6, 2**53, 0.5, 1e300, "", "x", "../../../../tmp/pwned", "貓",
    "a" * 2000, [], [1], [[9, 1.5]], [[2**53, None]], [1e300] * 10, [3.4e38] * 10, [0.5] * 64, {},
    {"level": 5}, {"level": "x"}, {"kind": {}}, {"a": "<script>alert(1)</script>"}, "a" * 64,
    "golden", "steady", "sustained", "</script>",
)  # fmt: skip


def hostile_lines(job: str, good: list[dict], seed: int, count: int) -> Iterator[bytes]:
    """Lines with right checks whose values are changed, one or two at a time."""
    rng = random.Random(seed)
    for number in range(count):
        values = {
            **rng.choice(good),
            "job": job[:16],
            "run": f"{rng.randrange(3):016x}",
            "seq": number,
        }
        for _ in range(rng.randint(0, 2)):
            keys = [k for k in values if k not in ("job", "run", "seq")]
            values[rng.choice(keys)] = rng.choice(HOSTILE)
        yield signed(values)
