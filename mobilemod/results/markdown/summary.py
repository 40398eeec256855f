"""A bundle's state for a pull request: what `validate --markdown` writes."""

from __future__ import annotations

from mobilemod.manifest import Bundle
from mobilemod.results.device.table import text_table as device_text
from mobilemod.results.markdown.files import UNKNOWN, files_table
from mobilemod.results.markdown.table import folded, plain, table
from mobilemod.results.report.decision import Reason, decide
from mobilemod.results.report.known import read_known
from mobilemod.results.schema import int8_pairs
from mobilemod.results.table import measured_lines, text_table
from mobilemod.results.verdict import FAIL, PASS

# GitHub takes 65,536 characters of a comment, 1 MiB of a step's summary.
MOST = 60_000
MARKS = {PASS: "✅", FAIL: "❌"}
OPEN = "⚠️"


def summary(bundle: Bundle) -> str:
    """GitHub-flavoured Markdown of the bundle's records, less than 65 kB: the decision and what
    speaks against it, its files, their agreement; whole tables folded."""
    known = read_known(bundle)
    decision, record = decide(known), known.validation
    against = [r for r in decision.reasons if r.state != PASS]
    passed = [r for r in decision.reasons if r.state == PASS]
    parts = [
        f"## {MARKS.get(decision.state, OPEN)} {decision.badge}: {plain(known.model)}, "
        f"recipe {plain(bundle.manifest.recipe.name)}",
        decision.sentence,
        "\n".join(map(_line, against)),
        files_table(bundle, record),
    ]
    if record and record["measured"]:
        key, word = known.task.agreement.key, known.task.agreement.same
        pairs = [
            [plain(a), plain(b), f"{entry[key]:.2f} %" if entry else UNKNOWN]
            for a, b, entry in int8_pairs(record)
        ]
        if pairs:
            parts.append(table(["int8 files", "", word], pairs, frozenset({2})))
        parts.append(
            "\n".join(map(plain, measured_lines(record["data"], record["data"]["images"])))
        )
    if passed:
        gates = "gate" if len(passed) == 1 else "gates"
        parts.append(folded(f"{len(passed)} {gates} passed", "\n".join(map(_line, passed))))
    whole = [("All figures", text_table(record))] if record else []
    whole += [(f"Device: {r['device']['name']}", device_text(r)) for r in known.devices]
    text = "\n\n".join(filter(None, parts))
    for name, body in whole:
        part = folded(name, f"```\n{body}\n```")
        if len(text) + len(part) > MOST:
            text += f"\n\n{plain(name)}: too long for here; the report has it."
        else:
            text += f"\n\n{part}"
    return f"{text}\n"


def _line(reason: Reason) -> str:
    mark = MARKS.get(reason.state, OPEN)
    return f"- {mark} {plain(reason.words)} ({plain(reason.where)}): {plain(reason.line)}"
