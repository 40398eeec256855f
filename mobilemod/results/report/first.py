"""The page's first screen: ship it or not, and each int8 file by its main figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mobilemod.results.device.table import unit_text
from mobilemod.results.gates import upper_of
from mobilemod.results.markup import Html, join, tag
from mobilemod.results.report.decision import Decision, Reason
from mobilemod.results.report.known import Known, ModelEntry
from mobilemod.results.schema import int8_pairs
from mobilemod.results.table import drop_text, size_text
from mobilemod.results.verdict import FAIL, PASS, UNDECIDED
from mobilemod.targets import TARGETS

WORDS = {FAIL: "failed", UNDECIDED: "open", PASS: "passed"}
NOT_KNOWN = "not measured"

FIRST_STYLE = """
.decision { display: flex; flex-wrap: wrap; gap: .4rem 1rem; align-items: center; margin: .5rem 0; }
.decision .badge { font-size: 1.35rem; padding: .25rem 1.1rem; }
.decision p { margin: 0; }
.file-cards {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: .8rem;
  margin: 1rem 0;
}
.file-card { border: 1px solid var(--line); border-radius: 10px; padding: .7rem .9rem; }
.file-card h2 { font-size: 1rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
.file-card h2 small { display: block; font-weight: 400; color: var(--soft); font-size: .82rem; }
.file-card dl { margin: 0; display: grid; grid-template-columns: 5.6rem 1fr; gap: .35rem .6rem; }
.file-card dt { color: var(--soft); font-size: .85rem; padding-top: .1rem; }
.file-card dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.file-card dd div + div { margin-top: .3rem; }
.file-card dd small { display: block; color: var(--soft); font-size: .82rem; }
p.stand-in, .file-card small.stand-in { color: var(--open); font-size: .88rem; font-weight: 600; }
ul.reasons { list-style: none; margin: .4rem 0 0; padding: 0; }
ul.reasons > li { border-top: 1px solid var(--line); padding: .35rem 0; }
ul.reasons details { margin: 0; }
ul.reasons summary { font-weight: 400; }
ul.reasons summary b { display: inline-block; min-width: 3.6rem; }
ul.reasons summary small { color: var(--soft); }
ul.reasons details p { margin: .2rem 0 .2rem 1.2rem; overflow-wrap: anywhere; }
"""


def first_screen(known: Known, decision: Decision) -> Html:
    """The decision, the int8 files, and what speaks against shipping."""
    cards = [_card(known, entry) for entry in _int8(known)]
    against = [r for r in decision.reasons if r.state != PASS]
    passed = [r for r in decision.reasons if r.state == PASS]
    folded = None
    if passed:
        plural = "s"[: len(passed) != 1]
        summary = tag("summary", f"{len(passed)} gate{plural} passed")
        folded = tag("details", summary, _reasons(passed))
    return tag(
        "header",
        tag("div", "mobilemod report", class_="eyebrow"),
        tag("h1", known.model),
        tag(
            "div",
            tag("div", decision.badge, class_=f"badge {decision.state}"),
            tag("p", decision.sentence),
            class_="decision",
        ),
        *_stand_ins(known),
        _reasons(against) if against else None,
        tag("div", *cards, class_="file-cards") if cards else None,
        folded,
        class_="top",
    )


def _reasons(reasons: list[Reason]) -> Html:
    """Each in words; its figures are there for whoever opens it."""
    found = []
    for r in reasons:
        state = tag("b", WORDS[r.state], class_=r.state)
        summary = tag("summary", state, r.words, " ", tag("small", f"({r.where})"))
        line = tag("p", r.line, class_="note")
        found.append(tag("li", tag("details", summary, line)))
    return tag("ul", *found, class_="reasons")


def _int8(known: Known) -> list[ModelEntry]:
    """The int8 files: those of the bundle, else those of the validation."""
    if known.files:
        return [e for e in known.files if e.precision == "int8"]
    rows = known.validation["predictions"] if known.validation else ()
    return [
        ModelEntry(p["file"] or p["name"], "", "int8", p["bytes"])
        for p in rows
        if p["role"] == "int8"
    ]


def _card(known: Known, entry: ModelEntry) -> Html:
    rows = known.validation["predictions"] if known.validation else ()
    # A file's first row is of its own runtime.
    measured = next((p for p in rows if entry.file in (p["file"], p["name"])), None)
    facts = TARGETS.get(entry.target)
    parts = [
        ("Accuracy", _drop(known, measured)),
        ("Size", _size(known, entry)),
        ("Speed", join(*(tag("div", speed) for speed in _speeds(known, entry.file)))),
        ("Agreement", _agreement(known, measured)),
        ("Run by", _ran(measured, facts.stand_in if facts else "")),
    ]
    told = [tag("dt", name) + tag("dd", said) for name, said in parts if said]
    name = measured["name"] if measured else f"{entry.target} {entry.precision}"
    small = tag("small", entry.file) if entry.file != name else None
    dot = tag("span", class_="dot int8")
    return tag(
        "div",
        tag("h2", dot, name, small),
        tag("dl", *map(Html, told)),
        class_="file-card",
    )


def _stand_ins(known: Known) -> Iterator[Html]:
    """A line for each target whose files no runtime of phones has run here."""
    record = known.validation
    ran = {p["file"] for p in record["predictions"]} if record else set()
    for name in dict.fromkeys(e.target for e in _int8(known) if e.file in ran):
        facts = TARGETS.get(name)
        if facts and facts.stand_in:
            yield tag("p", f"{name}: {facts.stand_in}.", class_="stand-in")


def _drop(known: Known, measured: Mapping[str, Any] | None) -> Html:
    if measured is None or measured["drop"] is None:
        return tag("span", NOT_KNOWN)
    metric, d = known.task.metric, measured["drop"]
    points, interval = drop_text(d)
    images = known.validation["data"]["images"]
    own = f"{metric.name} {metric.text(measured[metric.key])}\N{NO-BREAK SPACE}{metric.unit}"
    lost = join(tag("b", points), f" {metric.points} lost")
    if d["points"] < 0:
        lost = join(tag("b", drop_text({**d, "points": -d["points"]})[0]), f" {metric.points} won")
    upper = upper_of(d, images, known.task.counted)
    told = f"95 % {interval}, upper end {upper:.2f}; {own}, {images:,} images"
    return join(lost, tag("small", told))


def _size(known: Known, entry: ModelEntry) -> Html | None:
    if not entry.bytes:
        return None
    twin = known.twin(entry.file)
    small = None
    if twin is not None and twin.bytes:
        times = twin.bytes / entry.bytes
        small = tag("small", f"{times:.1f} times smaller than {twin.precision}, "
                    f"{size_text(twin.bytes)}")  # fmt: skip
    return join(tag("b", size_text(entry.bytes)), small)


def _speeds(known: Known, file: str) -> Iterator[Html]:
    """Against the float twin, on each device that timed the file."""
    for record in known.devices:
        name = record["device"]["name"]
        if said := _compared(record, file) or _beside(known, record, file):
            times, small = said
            yield join(tag("b", times), f" on {name}", tag("small", small))


def _compared(record: Mapping[str, Any], file: str) -> tuple[str, str] | None:
    """Of two that ran in turns."""
    pairs = (c for c in record["comparisons"] if c["int8"] == file and c["ratio"] is not None)
    c = next(pairs, None)
    if c is None:
        return None
    small = f"as its float twin, 95 % [{c['low']:.2f}, {c['high']:.2f}], {unit_text(c)}"
    return f"{c['ratio']:.2f} times as fast", small


def _beside(known: Known, record: Mapping[str, Any], file: str) -> tuple[str, str] | None:
    """By the medians of both, where they were timed alike."""
    timed = {f["file"]: _medians(f) for f in record["files"]}
    found, twin = timed.get(file), known.twin(file)
    if not found:
        return None
    unit, ms = next(iter(found.items()))
    other = timed.get(twin.file, {}).get(unit) if twin else None
    if other is None or twin is None:
        return f"{ms:.1f} ms", f"median, {unit}"
    small = f"as its float twin: {ms:.1f} against {other:.1f} ms, {unit}"
    return f"{other / ms:.2f} times as fast", small


def _medians(file: Mapping[str, Any]) -> dict[str, float]:
    """Milliseconds by what a file ran on."""
    return {unit_text(c): c["latency"]["p50_ms"] for c in file["configurations"] if c["latency"]}


def _agreement(known: Known, measured: Mapping[str, Any] | None) -> Html | None:
    """With the int8 file that agrees least."""
    if measured is None or known.validation is None:
        return None
    agreement, name = known.task.agreement, measured["name"]
    found = [
        (pair[agreement.key], b if a == name else a)
        for a, b, pair in int8_pairs(known.validation)
        if pair and name in (a, b)
    ]
    if not found:
        return None
    percent, other = min(found)
    small = f"of {agreement.of} {agreement.same} as {other}, the int8 file that differs most"
    return join(tag("b", f"{percent:.2f} %"), tag("small", small))


def _ran(measured: Mapping[str, Any] | None, stand_in: str) -> Html | None:
    if measured is None:
        return None
    mark = tag("small", stand_in, class_="stand-in") if stand_in else None
    return join(measured["runner"] or "–", mark)
