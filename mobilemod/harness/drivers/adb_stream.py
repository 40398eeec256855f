"""Follows a stream that grows on the device, from an offset, however often it is interrupted.

It is looked at every few seconds and not held open: a transfer that runs all the time would take
processor time from what is being measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mobilemod.harness.drivers import DeviceLost
from mobilemod.harness.drivers.adb_client import Device
from mobilemod.harness.protocol import Reader

BLOCK = 4 << 20
# "SIZE" of the stream (-1: not there), newline, then its bytes from the ($2 + 1)th, at most $3.
LOOK = """
size=$(stat -c %s "$1" 2>/dev/null) || size=-1
echo "$size"
if [ "$size" -gt "$2" ]; then tail -c "+$4" "$1" | head -c "$3"; fi
exit 0
"""


@dataclass
class Follower:
    """One stream. path: on the device. offset: bytes that were handed on. reader: takes them apart,
    to know where the job stands; what it can't read is handed on all the same. ended: by `done` or
    a fatal error."""

    device: Device
    path: str
    reader: Reader
    offset: int = 0
    runs: set[str] = field(default_factory=set)
    earlier: frozenset[str] = frozenset()
    ended: bool = False

    def take(self) -> bytes:
        """The next bytes, up to `BLOCK`; empty where there is nothing new.

        Raises `DeviceLost` where the device is gone or answers no such thing.
        """
        done = self.device.script(
            LOOK, self.path, str(self.offset), str(BLOCK), str(self.offset + 1)
        )
        head, newline, data = done.stdout.partition(b"\n")
        try:
            size = int(head.decode("ascii"))
        except ValueError:
            raise DeviceLost(f"{self.device.serial} answers no size of the stream") from None
        if size < self.offset and size >= 0:
            # The app began a new file: whatever is in it is new.
            self.offset = 0
            return b""
        self.offset += len(data)
        return data

    def note(self, data: bytes) -> None:
        """Take over where the job stands from bytes that were handed on."""
        for line in self.reader.feed(data):
            self.runs.add(line.run)
            fatal = line.type == "error" and line["fatal"]
            if line.run not in self.earlier and (line.type == "done" or fatal):
                self.ended = True

    def forget_runs(self) -> None:
        """What has come so far is of runs that ended: only a later run's end counts."""
        self.earlier = frozenset(self.runs)
        self.ended = False
