"""A device's driver as one file: this machine under another name.

Tests put it into `mobilemod/harness/drivers`.
"""

from __future__ import annotations

from mobilemod.harness.drivers.host import HostDriver


class ToyDriver(HostDriver):
    """It says of each file that it ran here."""

    def extra(self, folder):
        return {file.name: {"toy": True} for file in folder.job.files}


def create(device_id: str | None) -> ToyDriver:
    """There is one."""
    return ToyDriver()
