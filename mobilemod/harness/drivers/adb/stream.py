"""Follows a stream that grows on the device, from an offset, however often it is interrupted.

It is looked at every few seconds and not held open: a transfer that runs all the time would take
processor time from what is being measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from mobilemod.harness.drivers import DeviceLost
from mobilemod.harness.drivers.adb.client import Device
from mobilemod.harness.drivers.following import End

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
    """One stream. path: on the device. offset: bytes that were handed on."""

    device: Device
    path: str
    end: End
    offset: int = 0

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
