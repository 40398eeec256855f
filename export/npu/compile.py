"""What an NPU takes of a bundle's files and of one file, op by op with the network's module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from export.auditing.audit import tables_beside
from export.auditing.modules import Names, node_modules
from export.graph import FileGraph
from export.npu.lists import LISTS
from export.npu.qualcomm import MANUFACTURER, Compiler, find_compiler
from export.targets.target import get_target, target_of_file
from mobilemod.errors import UserError, unknown
from mobilemod.files import write_json
from mobilemod.manifest import load_bundle
from mobilemod.progress import progress
from mobilemod.targets import TARGETS

SCHEMA = "mobilemod/npu/1"
FOLDER, RECORD = "npu", "record.json"
SHOWN = 5


@dataclass(frozen=True)
class Refusal:
    """ops: how many like it. module: of the network. tensor: that the first of them makes."""

    op: str
    module: str
    tensor: str
    reason: str
    ops: int


def npu_target() -> str:
    """The target whose files NPUs' compilers take."""
    return next(name for name, facts in TARGETS.items() if facts.npu)


def compile_bundle(
    bundle: Path, chips: Sequence[str], qnn: Path | None = None
) -> list[dict[str, Any]]:
    """Compile every file of the bundle that can be, for each chip; a record of each chip.

    Into the bundle's `npu/CHIP/`: the compiled files under their own names, and `record.json`. A
    chip's folder is overwritten file by file. Raises `UserError` without a compiler, for a chip
    that it doesn't know, and where the bundle has no such file.
    """
    target = npu_target()
    loaded = load_bundle(bundle)
    files = [e.file for e in loaded.manifest.files if e.target == target]
    if not files:
        raise UserError(f"{bundle} holds no {TARGETS[target].suffix}; export --targets {target}")
    compiler = find_compiler(qnn)
    for chip in chips:
        compiler.require(chip)
    records = []
    work = [(chip, file) for chip in chips for file in files]
    steps = iter(progress(work, "compiling", len(work), "file"))
    for chip in chips:
        entries = [
            _compile(compiler, bundle / file, chip, bundle / FOLDER / chip / file)
            for _, file in islice(steps, len(files))
        ]
        record = {
            "schema": SCHEMA,
            "model": loaded.manifest.model,
            "chip": chip,
            "compiler": f"{MANUFACTURER} QNN {compiler.version}",
            "files": entries,
        }
        write_json(bundle / FOLDER / chip / RECORD, record)
        records.append(record)
    return records


def _compile(compiler: Compiler, path: Path, chip: str, out: Path) -> dict[str, Any]:
    out.parent.mkdir(parents=True, exist_ok=True)
    made = compiler.compile(path, chip, out)
    taken = made.acceptance
    return {
        "file": path.name,
        "bytes": made.size,
        "seconds": round(made.seconds, 1),
        "selected": taken.selected,
        "ops": taken.ops,
        "partitions": taken.partitions,
        "float_products": made.float_products,
        "refused": _told(path, taken.refused),
    }


def inspect_npu(path: Path, npu: str, qnn: Path | None = None) -> dict[str, Any]:
    """What an NPU takes of a file, without compiling it: a record.

    npu: a chip of the installed compiler's, or a vendor of `LISTS`.
    """
    target = target_of_file(path)
    if not target.facts.npu:
        suffix = TARGETS[npu_target()].suffix
        raise UserError(f"{path}: NPUs' compilers take {suffix} files")
    graph = target.read_graph(path)
    if npu in LISTS:
        found = LISTS[npu]
        by = f"list of {found.vendor}'s compiler, LiteRT at {found.commit[:12]}; nothing compiled"
        refused, partitions = found.refused(graph), None
        ops, selected = len(graph.nodes), len(graph.nodes) - len(refused)
    else:
        try:
            compiler = find_compiler(qnn)
            compiler.require(npu)
        except UserError as error:
            raise UserError(f"{error}; or give one of {', '.join(LISTS)}") from None
        taken = compiler.accept(path, npu)
        by, refused = f"{MANUFACTURER} QNN {compiler.version}", taken.refused
        ops, selected, partitions = taken.ops, taken.selected, taken.partitions
    return {
        "file": path.name, "npu": npu, "by": by, "selected": selected, "ops": ops,
        "partitions": partitions, "refused": _told(path, refused, graph),
    }  # fmt: skip


def _told(
    path: Path, refused: dict[int, str], graph: FileGraph | None = None
) -> list[dict[str, Any]]:
    """The refused ops as `Refusal`s, those of one kind, module and reason as one."""
    if not refused:
        return []
    graph = graph or get_target(npu_target()).read_graph(path)
    modules = node_modules(graph, Names(tables_beside(path)))
    found: dict[tuple[str, str, str], list[str]] = {}
    for number, reason in sorted(refused.items()):
        node = graph.nodes[number] if number < len(graph.nodes) else None
        key = (node.op if node else "?", modules.get(node, "") if node else "", reason)
        found.setdefault(key, []).append(node.outputs[0] if node and node.outputs else "")
    return [asdict(Refusal(*key[:2], t[0], key[2], len(t))) for key, t in found.items()]


def refusal_lines(refused: Sequence[dict[str, Any]], most: int | None = None) -> list[str]:
    """A line for each; of more than `most`, how many are left."""
    shown = refused[:most]
    lines = [
        f"  not taken: {r['op']} x{r['ops']} of {r['module'] or '(unnamed)'}"
        + (f": {r['reason']}" if r["reason"] else "")
        for r in shown
    ]
    left = len(refused) - len(shown)
    return [*lines, *([f"  and {left} more"] if left else [])]


def inspected_text(record: dict[str, Any]) -> str:
    """`inspect_npu`'s record for a terminal."""
    parts = "" if record["partitions"] is None else f", {record['partitions']} partitions"
    head = f"{record['file']}: {record['npu']} takes {record['selected']} of {record['ops']} ops"
    return "\n".join([f"{head}{parts} ({record['by']})", *refusal_lines(record["refused"])])


def compiled_text(records: Sequence[dict[str, Any]]) -> str:
    """`compile_bundle`'s records for a terminal."""
    lines = []
    for record in records:
        lines.append(f"{record['chip']}, {record['compiler']}")
        for f in record["files"]:
            lines.append(
                f"  {f['file']:<36} {f['selected']} of {f['ops']} ops, {f['partitions']} "
                f"partitions, {f['float_products']} float products, {f['bytes'] / 1e6:.2f} MB, "
                f"{f['seconds']:.0f} s"
            )
            lines += [f"  {line}" for line in refusal_lines(f["refused"], SHOWN)]
    return "\n".join(lines)


def require_npu(npu: str) -> None:
    """`UserError` for a name that is no vendor's of `LISTS` and can be no chip's."""
    if npu not in LISTS and not npu.replace("_", "").isalnum():
        raise unknown("NPU", npu, LISTS, ", or a chip of Qualcomm's compiler as SM8750")
