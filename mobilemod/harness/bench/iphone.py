"""A connected iPhone: what `mac` measures, by the app that coremltools builds and installs on it.

Never run: written against coremltools 9.0's sources. The app takes and returns arrays alone, so the
package that runs is the file's program with other edges (coreml_edges.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from mobilemod.data.testcard import draw_card
from mobilemod.errors import UserError
from mobilemod.harness.bench.coreml import check_macos, measure_package, suffixes, table
from mobilemod.harness.bench.coreml_edges import tensor_edges
from mobilemod.harness.bench.devices import Job, Measurement, ModelFile
from mobilemod.results.verdict import Verdict

__all__ = ["check", "choose_device", "measure", "suffixes", "table"]


def check(threads: int) -> None:
    """Raises `UserError` on another system than macOS: Xcode builds and installs the app."""
    check_macos("iphone")


def choose_device(devices: Sequence[Any], udid: str | None) -> Any:
    """The one connected iPhone, or the one with this identifier.

    devices: coremltools' `Device`s, of any kind and state. Raises `UserError` where none fits, or
    several do.
    """
    from coremltools.models.ml_program.experimental.remote_device import DeviceState, DeviceType

    phones = [
        d
        for d in devices
        if d.type == DeviceType.IPHONE and d.state == DeviceState.CONNECTED
        and udid in (None, d.udid)
    ]  # fmt: skip
    if len(phones) == 1:
        return phones[0]
    if phones:
        known = ", ".join(d.udid for d in phones)
        raise UserError(f"{len(phones)} iPhones are connected; choose one by --udid: {known}")
    wanted = f" with the identifier {udid}" if udid else ""
    raise UserError(
        f"no connected iPhone{wanted}; connect and unlock it, trust this Mac, turn on developer "
        "mode ('xcrun devicectl list devices' shows it as connected)"
    )


def measure(job: Job) -> Measurement:
    """As on a Mac. Raises `UserError` where Xcode's tools or the phone refuse."""
    return asyncio.run(_measure(job))


async def _measure(job: Job) -> Measurement:
    import coremltools as ct
    from coremltools.models.ml_program.experimental import remote_device

    refusals = (
        ValueError,
        remote_device._AppBuilder.Error,
        remote_device._DeviceCtlError,
        remote_device._JSONRPCError,
    )
    try:
        device = choose_device(remote_device.Device.get_devices(), job.apple.get("udid"))
        # Without a team the app is signed for running locally, which phones don't take.
        credentials = remote_device.AppSigningCredentials(job.apple.get("team") or "")
        device = await device.prepare_for_model_debugging(credentials)
    except refusals as error:
        raise UserError(f"the iPhone can't be prepared: {error}; is --team given?") from None
    try:
        results = [await _measure_file(job, file, device) for file in job.files]
    except refusals as error:
        raise UserError(f"the iPhone stopped measuring: {error}") from None
    finally:
        device.session.stop()
    environment = {
        "system": f"iOS {device.os_version} ({device.os_build_number})",
        "coremltools": ct.__version__,
        "edges": "arrays in place of the image and the label",
    }
    files, verdicts = zip(*results, strict=True)
    return Measurement(environment, files, (), verdicts)


async def _measure_file(job: Job, file: ModelFile, device: Any) -> tuple[dict[str, Any], Verdict]:
    import coremltools as ct

    whole = ct.models.MLModel(str(file.path), skip_model_load=True)
    spec = tensor_edges(whole.get_spec())
    model = ct.models.MLModel(spec, weights_dir=whole.weights_dir, skip_model_load=True)
    pixels = np.moveaxis(draw_card(job.preprocess.size), -1, 0)[None].astype(np.float32)
    inputs = {spec.description.input[0].name: np.ascontiguousarray(pixels)}
    return await measure_package(file, model, inputs, job.runs, device)
