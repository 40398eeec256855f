"""What it costs to leave modules float: from profiles of both files, or in multiply-accumulates."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from export.graph import CONV, DEPTHWISE, DEQUANTIZE, LINEAR, QUANTIZE
from export.lowering import tool_versions
from export.measure.profiling import SCHEMA, Profile, UnitTime, profile_file
from mobilemod.closure import code_digest
from mobilemod.errors import UserError
from mobilemod.files import check_regular, write_text
from mobilemod.manifest import Bundle
from quantization.calibration import cache_dir
from quantization.search.flow import Flow
from quantization.sensitivity.effects import published_module

WEIGHTED = (CONV, DEPTHWISE, LINEAR)
LEAST_SHARE = 1e-3  # of the whole: what costs less counts as this much


@dataclass(frozen=True)
class Costs:
    """Costs of a program by the modules left float.

    unit: "ms" or "M MACs in float". convs: module -> what its convolutions cost more in float.
    rest: layer -> the same for all its other int8 ops. per_value: of quantizing or dequantizing
    one value. base: the program as the recipe makes it. least: see `Search.least`.
    """

    flow: Flow
    unit: str
    convs: dict[str, float]
    rest: dict[int, float]
    per_value: float
    base: float
    least: float

    def total(self, modules: Sequence[str]) -> float:
        """Cost of the program with these modules float.

        Of a module's convolutions, and of a layer's other ops, those that are float cost their
        share, by multiply-accumulates and by the number of values.
        """
        floats = self.flow.floats(modules)
        macs = _macs(self.flow, floats)
        whole = _macs(self.flow, self.flow.capable)
        cost = self.base + sum(self.convs.get(m, 0.0) * n / whole[m] for m, n in macs.items() if n)
        for layer, extra in self.rest.items():
            values = self._values(layer, self.flow.capable)
            if values:
                cost += extra * self._values(layer, floats) / values
        moved = self.flow.boundary(modules) - self.flow.boundary(())
        return cost + moved * self.per_value

    def _values(self, layer: int, ops: frozenset[int]) -> int:
        found = (self.flow.ops[i] for i in ops)
        return sum(op.values for op in found if op.layer == layer and not op.weight)


def _macs(flow: Flow, ops: frozenset[int]) -> dict[str, int]:
    """Module -> multiply-accumulates of those of its convolutions that are among `ops`."""
    found: dict[str, int] = defaultdict(int)
    for i in sorted(ops):
        found[flow.ops[i].module] += flow.ops[i].macs
    return found


def mac_costs(flow: Flow) -> Costs:
    """Millions of multiply-accumulates that run in float; all other ops are free."""
    convs = {m: n / 1e6 for m, n in _macs(flow, flow.capable).items()}
    whole = sum(op.macs for op in flow.ops) / 1e6
    base = whole * (1 - flow.int8_share(()))
    return Costs(flow, "M MACs in float", convs, {}, 0.0, base, whole * LEAST_SHARE)


def time_costs(flow: Flow, int8: Profile, floats: Profile) -> Costs:
    """Milliseconds, of the int8 file's parts: what the float file's same parts take longer.

    Convolutions are known by module. Other ops are compared by layer, because the two files don't
    name them alike. Nothing costs less than 0.
    """
    layers = {op.module: op.layer for op in flow.ops}
    convs: dict[str, float] = defaultdict(float)
    rest: dict[int, float] = defaultdict(float)
    for sign, profile in ((-1, int8), (1, floats)):
        for unit in profile.units:
            layer = layers.get(published_module(unit.module, layers))
            if unit.op in WEIGHTED:
                convs[unit.module] += sign * unit.ms
            elif layer is not None and unit.op not in (QUANTIZE, DEQUANTIZE):
                rest[layer] += sign * unit.ms
    if not any(op.module in convs for op in flow.ops if op.weight):
        raise UserError(
            f"{int8.file}'s profile names no module of the network; profile the files in a bundle"
        )
    edges = [u for u in int8.units if u.op in (QUANTIZE, DEQUANTIZE)]
    return Costs(
        flow,
        "ms",
        {m: max(0.0, v) for m, v in convs.items()},
        {layer: max(0.0, v) for layer, v in rest.items()},
        sum(u.ms for u in edges) / max(1, sum(math.prod(u.shape) for u in edges)),
        int8.sum_ms,
        int8.sum_ms * LEAST_SHARE,
    )


def measured_profiles(bundle: Bundle, target: str) -> tuple[Profile, Profile]:
    """Profiles of the bundle's int8 file and its float twin, one thread; cached by content."""
    found, code = {}, code_digest(profile_file.__module__)
    for entry in bundle.manifest.files:
        if entry.target == target:
            path = bundle.file(entry.file)
            # Modules are named by the bundle's tables and reference, which its identity covers.
            text = f"{entry.sha256} {bundle.identity} {tool_versions()} {code}"
            name = hashlib.sha256(text.encode()).hexdigest()[:32]
            cached = cache_dir() / "profiles" / f"{name}.json"
            if not cached.exists():
                write_text(cached, json.dumps(profile_file(path).to_dict()))
            found[entry.precision == "int8"] = load_profile(cached)
    if len(found) < 2:
        raise UserError(
            f"{bundle.folder} lacks the int8 file or the float twin of {target}; export it, or "
            "give --cost macs"
        )
    return found[True], found[False]


def load_profile(path: Path) -> Profile:
    """What `mobilemod profile --json` wrote; `UserError` where the file isn't that."""
    try:
        check_regular(path)
        values = json.loads(path.read_text("utf-8"))
        if values["schema"] != SCHEMA:
            raise ValueError(f"schema {values['schema']!r} is not {SCHEMA!r}")
        names = {f.name for f in dataclasses.fields(Profile)} - {"units"}
        units = tuple(UnitTime(**{**u, "shape": tuple(u["shape"])}) for u in values["units"])
        return Profile(**{k: values[k] for k in names}, units=units)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is no profile ({error}); write it with 'mobilemod profile FILE --json'"
        ) from None


def saved_profiles(target: str, int8: Path, floats: Path) -> tuple[Profile, Profile]:
    """The profiles of `target`'s int8 file and of its float twin; else `UserError`."""
    found = load_profile(int8), load_profile(floats)
    for path, profile, is_int8 in zip((int8, floats), found, (True, False), strict=True):
        if profile.target != target:
            raise UserError(f"{path} is of {profile.target}, the search is for {target}")
        if any(u.dtype == "int8" and u.op in WEIGHTED for u in profile.units) != is_int8:
            kind = "an int8" if is_int8 else "a float"
            raise UserError(f"{path} is not of {kind} file; give --profile INT8.json,FLOAT.json")
    if found[0].threads != found[1].threads:
        raise UserError(f"{int8} and {floats} are of different numbers of threads")
    return found
