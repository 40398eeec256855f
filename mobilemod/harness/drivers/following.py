"""What drivers share that look at a stream from time to time: waiting, and knowing its end."""

from __future__ import annotations

import time

from mobilemod.harness.drivers import Receive
from mobilemod.harness.protocol.lines import MAX_LINE, Reader

STEP = 0.5


class End:
    """Whether a job has come to its end, by the bytes of its stream.

    reached: `done`, or a fatal error, of a run that isn't among those that `forget_runs` forgot.
    What can't be read is of no account here: it is handed on and counted elsewhere.
    """

    def __init__(self, job: str) -> None:
        self.reached = False
        self._reader = Reader(job)
        self._runs: set[str] = set()
        self._earlier: frozenset[str] = frozenset()

    def note(self, data: bytes) -> None:
        """Take in bytes that were handed on."""
        for line in self._reader.feed(data):
            self._runs.add(line.run)
            fatal = line.type == "error" and line["fatal"]
            if line.run not in self._earlier and (line.type == "done" or fatal):
                self.reached = True

    def forget_runs(self) -> None:
        """What has come so far is of starts that are over: only a later one's end counts."""
        self._earlier, self.reached = frozenset(self._runs), False


def whole_lines(data: bytes) -> bytes:
    """What a look at a growing stream may hand on: the rest of its last line comes with the next
    look. Where the device is lost between them, half a line handed on would count as damaged, and
    its other half too. More than a line can have goes as it is."""
    end = data.rfind(b"\n") + 1
    return data if len(data) - end > MAX_LINE else data[:end]


def pause(receive: Receive, seconds: float) -> None:
    """Sleep; where the run was stopped, `receive` says so by what it raises."""
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        receive(b"")
        time.sleep(min(STEP, left))
