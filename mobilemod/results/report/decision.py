"""Ship it, look first, or don't: what a bundle's gates and warnings come to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mobilemod.results.report.known import Known
from mobilemod.results.report.words import in_words
from mobilemod.results.table import data_warnings
from mobilemod.results.verdict import FAIL, PASS, STATES, UNDECIDED, headline, state_of

# By the worst state of what there is to say.
HEADLINES = {PASS: "Ship it", UNDECIDED: "Look first", FAIL: "Don't ship it"}
HERE, DAMAGE = "this machine", "corrupted images"
# Kinds of devices that nothing is shipped to.
STAND_INS = ("host", "arm64-emulated")
NOWHERE = (
    "No phone and no browser has run the files: how fast they are there, and that they answer "
    "there as here, isn't known"
)
HOW = "mobilemod validate BUNDLE --device adb (or iphone, browser)"


@dataclass(frozen=True)
class Reason:
    """One gate or warning. state: a verdict's. where: what it was measured on. line: with figures,
    or what to do."""

    state: str
    words: str
    where: str
    line: str


@dataclass(frozen=True)
class Decision:
    """What reasons come to, the worst first. gates: the verdicts among them."""

    reasons: tuple[Reason, ...]
    gates: tuple[Mapping[str, Any], ...]

    @property
    def state(self) -> str:
        """The worst of the reasons'."""
        return min((r.state for r in self.reasons), key=STATES.index, default=UNDECIDED)

    @property
    def badge(self) -> str:
        """One of three."""
        return HEADLINES[self.state]

    @property
    def sentence(self) -> str:
        """How many gates there are, how many passed, and how many warnings there are."""
        warnings = len(self.reasons) - len(self.gates)
        said = [headline(self.gates)] if self.gates else []
        said += [f"{warnings} warning{'s'[: warnings != 1]}"] if warnings else []
        return f"{'; '.join(said)}."


def decide(known: Known) -> Decision:
    """From every record of a bundle."""
    found, gates = list(_warnings(known)), []
    for record, where in _judged(known):
        for verdict in record.get("verdicts") or ():
            gates.append(verdict)
            words = in_words(verdict, known.task)
            found.append(Reason(state_of(verdict), words, where, verdict["line"]))
    found.sort(key=lambda r: STATES.index(r.state))
    return Decision(tuple(found), tuple(gates))


def _judged(known: Known) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The records that gates were applied to, and what each was measured on."""
    if known.validation is not None:
        yield known.validation, HERE
    if known.stress is not None:
        yield known.stress, DAMAGE
    for device in known.devices:
        yield device, device["device"]["name"]


def _warnings(known: Known) -> Iterator[Reason]:
    record = known.validation
    if record is not None and record["measured"]:
        yield from _of_validation(record)
    elif not any(f["accuracy"] for r in known.devices for f in r["files"]):
        words = "What int8 costs was never measured"
        yield Reason(FAIL, words, HERE, "mobilemod validate BUNDLE --data DIR")
    for device in known.devices:
        name = device["device"]["name"]
        for warning in device.get("warnings", ()):
            yield Reason(UNDECIDED, "One of its units gives wrong answers", name, warning["line"])
    if all(r["device"]["kind"] in STAND_INS for r in known.devices):
        yield Reason(UNDECIDED, NOWHERE, "devices", HOW)
    for line in known.left_out:
        yield Reason(UNDECIDED, "A record of the bundle can't be used", "records", line)


def _of_validation(record: Mapping[str, Any]) -> Iterator[Reason]:
    if not record["verdicts"]:
        words = "Measured, and no gate was applied"
        yield Reason(UNDECIDED, words, HERE, "mobilemod validate BUNDLE --data DIR")
    for text in data_warnings(record["data"]):
        yield Reason(UNDECIDED, "The images are too kind a test", HERE, text)
    if damaged := record["data"]["damaged"]:
        words = f"{len(damaged)} image{'s'[: len(damaged) != 1]} could not be read"
        yield Reason(UNDECIDED, words, HERE, ", ".join(damaged))
    for p in record["predictions"]:
        if p["role"] == "int8" and p["non_finite"]:
            line = f"on {p['non_finite']} images"
            yield Reason(UNDECIDED, f"{p['name']} gives outputs that are no numbers", HERE, line)
