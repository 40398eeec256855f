"""Where a connected iPhone runs the ops of packages, by an app that coremltools builds for it.

Never run: written against coremltools 9.0's sources. The app takes and returns arrays alone, so the
package that runs is the file's program with other edges (edges.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobilemod.errors import UserError
from mobilemod.harness.coreml.edges import tensor_edges
from mobilemod.harness.coreml.placement import place_ops


def choose_device(devices: Sequence[Any], udid: str) -> Any:
    """Of coremltools' `Device`s the phone with this identifier; `UserError` where it is away."""
    from coremltools.models.ml_program.experimental.remote_device import DeviceState

    for device in devices:
        if device.udid == udid and device.state == DeviceState.CONNECTED:
            return device
    raise UserError(
        f"coremltools finds no connected iPhone {udid}; 'xcrun devicectl list devices' must show "
        "it as connected"
    )


def place_on_phone(
    paths: Sequence[Path], image: np.ndarray, udid: str, team: str
) -> list[dict[str, Any]]:
    """`ops_by_device` and `ops` of each package, as records have them.

    image: uint8 (H, W, 3), which they run on. team: Apple's, which signs the app. Raises
    `UserError` where Xcode's tools or the phone refuse.
    """
    return asyncio.run(_place_all(paths, image, udid, team))


async def _place_all(
    paths: Sequence[Path], image: np.ndarray, udid: str, team: str
) -> list[dict[str, Any]]:
    from coremltools.models.ml_program.experimental import remote_device

    refusals = (
        ValueError,
        remote_device._AppBuilder.Error,
        remote_device._DeviceCtlError,
        remote_device._JSONRPCError,
    )
    try:
        device = choose_device(remote_device.Device.get_devices(), udid)
        credentials = remote_device.AppSigningCredentials(team)
        device = await device.prepare_for_model_debugging(credentials)
    except refusals as error:
        raise UserError(f"the iPhone can't be prepared: {error}; is the team {team}?") from None
    try:
        return [await _place(path, image, device) for path in paths]
    except refusals as error:
        raise UserError(f"the iPhone stopped measuring: {error}") from None
    finally:
        device.session.stop()


async def _place(path: Path, image: np.ndarray, device: Any) -> dict[str, Any]:
    import coremltools as ct
    from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker

    whole = ct.models.MLModel(str(path), skip_model_load=True)
    spec = tensor_edges(whole.get_spec())
    model = ct.models.MLModel(spec, weights_dir=whole.weights_dir, skip_model_load=True)
    pixels = np.moveaxis(image, -1, 0)[None].astype(np.float32)
    inputs = {spec.description.input[0].name: np.ascontiguousarray(pixels)}
    return await place_ops(MLModelBenchmarker(model, device), inputs)
