"""The profile: where a model file's time goes, per op and per module of the published network.

The runtimes' wheels have no profiler, so each op is cut out of the file, as a program of its own
in the same runtime, and timed alone. What XNNPACK fuses is cut out together.
"""

from __future__ import annotations

import dataclasses
import math
import re
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.auditing.audit import faults_told, tables_beside
from export.auditing.modules import Names, node_modules
from export.graph import CONV, DEPTHWISE, FileGraph, FileNode, shape_text
from export.number_formats import GraphIndex
from export.targets.target import target_of_file
from mobilemod.errors import UserError
from mobilemod.files import file_sha256, write_json
from mobilemod.machine.sharing import measuring
from mobilemod.manifest import bundle_around
from mobilemod.progress import progress
from mobilemod.results.report.known import PROFILES
from mobilemod.results.report.page import write_report

SCHEMA = "mobilemod/profile/1"
SLICE_SECONDS = 0.004
WHOLE_SECONDS = 0.2
MAX_RUNS = 200
MIN_RATED_MACS = 2_000_000  # a shorter op's rate is mostly noise
NAME_WIDTH = 52
# What a form makes of one published module: pieces of a kernel, of a norm.
PARTS = re.compile(r"\.(part\d+|sum\d+|mean|variance)$")


@dataclass(frozen=True)
class UnitTime:
    """What was timed alone: one op, or several that the runtime runs as one.

    op: its kind; module: the published module, "" where unknown; dtype: of its result, or of its
    first operand for ops with weights; shape: of its result; macs: multiply-accumulates;
    ms: milliseconds of one run. tensor: its result's name in the file.
    """

    op: str
    module: str
    dtype: str
    shape: tuple[int, ...]
    macs: int
    ms: float
    tensor: str = ""


@dataclass(frozen=True)
class Profile:
    """A file's profile; all times are milliseconds, the least of several measurements.

    whole_ms: of the whole file; overhead_us: of a call, which is taken off every unit.
    """

    file: str
    target: str
    threads: int
    whole_ms: float
    overhead_us: float
    units: tuple[UnitTime, ...]

    @property
    def sum_ms(self) -> float:
        """Of all units; more than the whole where the runtime overlaps or fuses more."""
        return sum(u.ms for u in self.units)

    @property
    def bound(self) -> tuple[float, float]:
        """(milliseconds, GMAC/s): all multiply-accumulates at the rate of the fastest op.

        What would be left if every op ran like the best one and moving data cost nothing.
        """
        rates = [u.macs / u.ms / 1e6 for u in self.units if u.macs >= MIN_RATED_MACS and u.ms > 0]
        best = max(rates, default=0.0)
        return (sum(u.macs for u in self.units) / best / 1e6 if best else 0.0), best

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values, with the schema's name."""
        bound_ms, best = self.bound
        extra = {"sum_ms": self.sum_ms, "bound_ms": bound_ms, "fastest_gmac_per_s": best}
        return {"schema": SCHEMA, **extra, **dataclasses.asdict(self)}


def profile_file(path: Path, threads: int = 1, rounds: int = 5) -> Profile:
    """Time every op of a file; `rounds` measurements each, in turn.

    Raises `UserError` for files that can't be taken apart here, damaged ones and those whose ops
    don't run alone.
    """
    with faults_told(path, "profiler"):
        return _profile(path, threads, rounds)


def keep_profile(path: Path, profile: Profile) -> Path | None:
    """Keep a file's profile in the bundle that it lies in, and write the bundle's report anew.

    The report's path; None where the file is in no bundle, or isn't the bundle's.
    """
    bundle = bundle_around(path)
    if bundle is None:
        return None
    digest = file_sha256(path)
    if digest not in (e.sha256 for e in bundle.manifest.files):
        return None
    record = {**profile.to_dict(), "sha256": digest}
    write_json(bundle.folder / PROFILES / f"{path.name}.json", record)
    return write_report(bundle.folder)


def _profile(path: Path, threads: int, rounds: int) -> Profile:
    if not path.exists():
        raise UserError(f"no such model file: {path}")
    target = target_of_file(path)
    cutter = target.open_cutter(path, threads)
    modules = node_modules(cutter.graph, Names(tables_beside(path)), cutter.weights)
    groups = fused_groups(cutter.graph)
    programs: dict[str, Callable[[], None]] = {}
    keys = []
    for nodes in progress(groups, "cutting", len(groups), "op"):
        keys.append(cutter.signature(nodes))
        if keys[-1] not in programs:
            programs[keys[-1]] = cutter.program(nodes).run
    whole = cutter.whole_program().run
    least: dict[str, float] = dict.fromkeys(programs, math.inf)
    whole_s = math.inf
    with measuring():
        for _ in progress(range(rounds), "timing", rounds, "round"):
            for key, run in programs.items():
                least[key] = min(least[key], _measure(run, SLICE_SECONDS))
            whole_s = min(whole_s, _measure(whole, WHOLE_SECONDS))
    # The cheapest op does next to nothing: what is left is the call.
    overhead = min(least.values())
    units = tuple(
        _unit(cutter.graph, nodes, modules, least[key] - overhead)
        for nodes, key in zip(groups, keys, strict=True)
    )
    return Profile(path.name, target.facts.name, threads, whole_s * 1e3, overhead * 1e6, units)


def _measure(run: Callable[[], None], seconds: float) -> float:
    """The least time of one run, in seconds, among as many as fit into `seconds`."""
    run()
    start = time.perf_counter()
    run()
    once = max(time.perf_counter() - start, 1e-7)
    least = once
    for _ in range(max(2, min(MAX_RUNS, int(seconds / once)))):
        start = time.perf_counter()
        run()
        least = min(least, time.perf_counter() - start)
    return least


def fused_groups(graph: FileGraph) -> list[tuple[int, ...]]:
    """The nodes of `graph` in order, those together that XNNPACK runs as one.

    It makes dequantize, unary ops, quantize one table look-up, and pads inside a convolution; what
    is made of a constant is made once.
    """
    index = GraphIndex(graph)
    groups: list[tuple[int, ...]] = []
    taken: set[int] = set()
    for i, node in enumerate(graph.nodes):
        if i in taken:
            continue
        group = index.table(i) or (i,)
        following = index.only_reader(i)
        if node.partition is not None and following is not None:
            then = graph.nodes[following]
            pads = node.op in ("pad", "staticconstantpad") and then.op in (CONV, DEPTHWISE)
            if pads or all(graph.tensors[t].constant for t in node.inputs):
                group = (i, following)
        taken |= set(group)
        groups.append(group)
    return groups


def _unit(
    graph: FileGraph, nodes: tuple[int, ...], modules: dict[FileNode, str], seconds: float
) -> UnitTime:
    main = graph.nodes[nodes[1] if len(nodes) > 1 else nodes[0]]
    result = graph.tensors[(graph.nodes[nodes[-1]].outputs or main.inputs)[0]]
    source = graph.tensors[graph.nodes[nodes[0]].inputs[0]] if main.macs else result
    inner = "+".join(graph.nodes[i].op for i in nodes[1:-1])
    op = f"{inner} (table)" if inner else main.op
    ms = max(0.0, seconds) * 1e3
    module = PARTS.sub("", modules.get(main, ""))
    return UnitTime(op, module, source.dtype, result.shape, main.macs, ms, result.name)


def format_profile(profile: Profile, top: int = 12) -> str:
    """The profile as text: per kind of op, per module, and the slowest units."""
    total = profile.sum_ms or 1.0
    bound_ms, best = profile.bound
    lines = [
        f"{profile.file}  {profile.whole_ms:.2f} ms whole, {profile.sum_ms:.2f} ms in parts, "
        f"{profile.threads} thread{'s'[: profile.threads != 1]}",
        f"  {bound_ms:.2f} ms if all multiply-accumulates ran at the best op's {best:.0f} GMAC/s",
        f"  {'op':<{NAME_WIDTH}}{'count':>6}{'ms':>9}{'share':>8}{'GMAC/s':>9}",
    ]
    lines += _rows(profile, lambda u: f"{u.op} {u.dtype}", total, None)
    lines.append(f"  {'module':<{NAME_WIDTH}}{'ops':>6}{'ms':>9}{'share':>8}{'GMAC/s':>9}")
    lines += _rows(profile, lambda u: u.module or "(unnamed)", total, top)
    lines.append("  slowest ops")
    for u in sorted(profile.units, key=lambda u: -u.ms)[:top]:
        shape = shape_text(u.shape)
        lines.append(f"    {u.ms:7.3f} ms  {u.op:<16} {u.dtype:<8} {shape:<16} {u.module}")
    return "\n".join(lines)


def _rows(
    profile: Profile, key: Callable[[UnitTime], str], total: float, top: int | None
) -> list[str]:
    groups: dict[str, list[UnitTime]] = defaultdict(list)
    for unit in profile.units:
        groups[key(unit)].append(unit)
    ranked = sorted(groups.items(), key=lambda kv: -sum(u.ms for u in kv[1]))
    rows = []
    for name, units in ranked[:top]:
        ms, macs = sum(u.ms for u in units), sum(u.macs for u in units)
        rate = f"{macs / ms / 1e6:9.0f}" if macs and ms else ""
        rows.append(f"  {name:<{NAME_WIDTH}}{len(units):>6}{ms:>9.3f}{ms / total:>8.1%}{rate}")
    if top is not None and len(ranked) > top:
        rest = [u.ms for _, units in ranked[top:] for u in units]
        label = f"{len(ranked) - top} more"
        rows.append(
            f"  {label:<{NAME_WIDTH}}{len(rest):>6}{sum(rest):>9.3f}{sum(rest) / total:>8.1%}"
        )
    return rows
