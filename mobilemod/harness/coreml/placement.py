"""Where Core ML would run each op of a program, and the gate on it; no Mac is needed for this part.

What is read here are coremltools' own objects: `MLModelBenchmarker.OperationExecutionInfo`, one per
op output, with the compute plan's device for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mobilemod.results.verdict import FAIL, PASS, Verdict

CPU, GPU, NEURAL_ENGINE, UNKNOWN = "CPU", "GPU", "Neural Engine", "unknown"
# The ops that hold a network's arithmetic. One of them on the CPU costs a round trip.
HEAVY = ("conv", "linear", "matmul")
NAMED = 5


@dataclass(frozen=True)
class OpPlacement:
    """One op: its MIL type, its output's name, the device that Core ML prefers for it.

    share: of the whole prediction's time as Core ML estimates it, 0…1; None where it doesn't.
    """

    op: str
    name: str
    device: str
    share: float | None


async def place_ops(benchmarker: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """A package's `ops_by_device` and `ops`, as records have them.

    benchmarker: an `MLModelBenchmarker` of it. inputs: of one prediction.
    """
    infos = await benchmarker.benchmark_operation_execution(inputs, iterations=1)
    found = placements(infos)
    return {"ops_by_device": by_device(found), "ops": [asdict(p) for p in found]}


def placements(infos: Iterable[Any]) -> list[OpPlacement]:
    """Of every op that Core ML places; constants it doesn't, heavy ops are kept in any case."""
    infos = list(infos)
    statistics = [info.measurement.statistics for info in infos]
    costs = [None if s is None else s.median for s in statistics]
    whole = sum(c for c in costs if c is not None)
    found = []
    for info, cost in zip(infos, costs, strict=True):
        device = _device_of(info.compute_device_usage)
        if device == UNKNOWN and info.spec.type not in HEAVY:
            continue
        share = cost / whole if cost is not None and whole else None
        found.append(OpPlacement(info.spec.type, info.spec.outputs[0].name, device, share))
    return found


def _device_of(usage: Any) -> str:
    from coremltools.models import compute_device

    kinds = {
        compute_device.MLCPUComputeDevice: CPU,
        compute_device.MLGPUComputeDevice: GPU,
        compute_device.MLNeuralEngineComputeDevice: NEURAL_ENGINE,
    }
    device = getattr(usage, "preferred_compute_device", None)
    return next((name for kind, name in kinds.items() if isinstance(device, kind)), UNKNOWN)


def by_device(found: Sequence[OpPlacement]) -> dict[str, int]:
    """Number of ops by device, most first."""
    return dict(Counter(p.device for p in found).most_common())


def fallback_verdict(file: str, found: Sequence[OpPlacement]) -> Verdict:
    """Fails where a heavy op runs on the CPU or nobody knows where, and where there is none."""
    name = f"placement: {file}"
    heavy = [p for p in found if p.op in HEAVY]
    if not heavy:
        return Verdict(name, FAIL, f"{name}: Core ML named no {', '.join(HEAVY)} op: fail")
    off = [p for p in heavy if p.device in (CPU, UNKNOWN)]
    if not off:
        line = f"{name}: all {len(heavy)} {', '.join(HEAVY)} ops off the CPU: pass"
        return Verdict(name, PASS, line, "placement", 0.0, 0.0)
    named = ", ".join(f"{p.name} ({p.op}, {p.device})" for p in off[:NAMED])
    more = f" and {len(off) - NAMED} more" if len(off) > NAMED else ""
    line = f"{name}: {len(off)} of {len(heavy)} fall back: {named}{more}: fail"
    return Verdict(name, FAIL, line, "placement", float(len(off)), 0.0)
