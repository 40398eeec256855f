"""An audit as text for a terminal."""

from __future__ import annotations

from collections import defaultdict

from export.auditing.audit import FloatOp, Inspection
from export.auditing.modules import listed, outside_lines
from mobilemod.targets import TARGETS

SHOWN_MODULES = 3


def format_audit(audit: Inspection) -> str:
    """The audit in lines; what a file doesn't have takes none."""
    lines = [
        f"{audit.file}  ({audit.target}, {audit.bytes / 1e6:.2f} MB, sha256 {audit.sha256[:12]})",
        *(f"  note: {note}" for note in audit.notes),
        f"  conv and linear MACs  {audit.macs / 1e6:8.1f} M, {_share(audit)}",
    ]
    if audit.mixed and audit.macs:
        lines += [
            f"    {words:<40} {count / audit.macs:.2%}" for words, count in audit.formats.items()
        ]
    if audit.mean_macs:
        lines.append(
            f"    not counted: {audit.mean_macs / 1e6:.1f} M of means that run as convolutions"
        )
    lines += [f"    method {name:<33} {macs / 1e6:.1f} M" for name, macs in audit.methods.items()]
    if audit.unknown_work:
        count = sum(audit.unknown_work.values())
        plural = "" if count == 1 else "s"
        lines.append(f"  {count} op{plural} of unknown work  {listed(audit.unknown_work)}")
    weights, reasons = audit.weight_dequantize_ops, TARGETS[audit.target].untaken
    lines += [
        f"  attention matmul MACs {audit.matmul_macs / 1e6:8.1f} M, "
        f"{audit.int8_matmul_macs / max(1, audit.matmul_macs):.0%} int8",
        f"  quantize / dequantize {audit.quantize_ops} / {audit.dequantize_ops}"
        + (f", and {weights} that only unpack weights" if weights else ""),
        f"  transposes            {audit.transposes}",
        f"  moves outside attention  {listed(audit.moves)}",
    ]
    if audit.quantized:
        lines.append("  pairs of quantize and dequantize between:")
        lines += [f"    {place:<40} x{count}" for place, count in audit.quantized.items()]
    if audit.partitions is not None:
        lines += [
            f"  delegate partitions   {audit.partitions}",
            f"  outside the delegate  {listed(audit.outside)}",
            *(f"    {line}" for line in outside_lines(audit.outside_modules, reasons)),
        ]
    for words, ops in audit.mixed.items():
        lines.append(f"  ops in {words}: {listed(ops)}")
    return "\n".join(_printable(line) for line in lines + _float_lines(audit))


def _printable(line: str) -> str:
    """Names come from the file: no control codes to the terminal."""
    return "".join(c if c.isprintable() else "?" for c in line)


def _float_lines(audit: Inspection) -> list[str]:
    by_op: dict[str, list[FloatOp]] = defaultdict(list)
    for f in audit.float_ops:
        by_op[f.op].append(f)
    lines = ["  ops in float:"] if by_op else []
    for op, found in sorted(by_op.items(), key=lambda kv: -sum(f.count for f in kv[1])):
        where = sorted({f.module for f in found if f.module})
        more = len(where) - SHOWN_MODULES
        shown = ", ".join(where[:SHOWN_MODULES]) + (f" and {more} more" if more > 0 else "")
        lines.append(f"    {op:<20} x{sum(f.count for f in found):<4} {shown}")
    return lines


def _share(audit: Inspection) -> str:
    """What part of the multiply-accumulates is int8, or why that isn't known."""
    if audit.int8_share is not None:
        return f"{audit.int8_share:.2%} int8"
    seen = f", {audit.int8_macs / audit.macs:.2%} int8 of what is seen" if audit.macs else ""
    return f"int8 share unknown: {opaque_text(audit.opaque)}{seen}"


def opaque_text(opaque: dict[str, int]) -> str:
    """Delegates that can't be looked into, in words: "delegate VulkanBackend"."""
    return f"delegate{'s'[: len(opaque) > 1]} {', '.join(opaque)}"
