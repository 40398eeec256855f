"""Verdicts as JUnit XML, which every CI server reads."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

from mobilemod.results.verdict import FAIL, PASS, UNDECIDED, state_of

# What XML 1.0 can't hold, even escaped.
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(records: Sequence[dict[str, Any]]) -> str:
    """One suite per record, one case per verdict and warning; an undecided one and a warning are
    skipped, with their line."""
    root = ET.Element("testsuites")
    for record in records:
        warned = record.get("warnings", ())
        cases = [*record["verdicts"], *warned]
        states = [state_of(v) for v in record["verdicts"]] + [UNDECIDED] * len(warned)
        name = _text(record["device"]["name"])
        suite = ET.SubElement(
            root,
            "testsuite",
            name=f"mobilemod validate {name}",
            tests=str(len(cases)),
            failures=str(states.count(FAIL)),
            skipped=str(states.count(UNDECIDED)),
            timestamp=_text(record["started"]),
        )
        for v, state in zip(cases, states, strict=True):
            case = ET.SubElement(suite, "testcase", classname=name, name=_text(v["name"]))
            if state != PASS:
                outcome = "failure" if state == FAIL else "skipped"
                ET.SubElement(case, outcome, message=_text(v["line"]))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _text(value: Any) -> str:
    return _UNWRITABLE.sub("\ufffd", str(value))
