"""The page over all that a bundle knows: one HTML file that needs nothing else, not a script."""

from __future__ import annotations

from pathlib import Path

from mobilemod.files import write_text
from mobilemod.manifest import load_bundle
from mobilemod.results.device.page import device_group
from mobilemod.results.device.plot import PLOT_STYLE as DEVICE_STYLE
from mobilemod.results.markup import Html, document, tag
from mobilemod.results.parts import Group
from mobilemod.results.profile.page import BAR_STYLE, profile_group
from mobilemod.results.report.decision import decide
from mobilemod.results.report.first import FIRST_STYLE, first_screen
from mobilemod.results.report.known import REPORT_FOLDER, Known, read_known
from mobilemod.results.search.page import search_group
from mobilemod.results.search.plot import PLOT_STYLE as SEARCH_STYLE
from mobilemod.results.sensitivity.page import STYLE as SENSITIVITY_STYLE
from mobilemod.results.sensitivity.page import sensitivity_group
from mobilemod.results.stress.page import stress_group
from mobilemod.results.validation.history_plot import history_group
from mobilemod.results.validation.page import accuracy_group, answers_group, files_group

PAGE_FILE = "report.html"
_STYLES = FIRST_STYLE, DEVICE_STYLE, BAR_STYLE, SEARCH_STYLE, SENSITIVITY_STYLE


def write_report(folder: Path) -> Path:
    """Write the page of a bundle's folder, whole or not at all; its path.

    A record that can't be read, was changed, or is of another export is left out, with a line on
    standard error and on the page. Raises UserError where there is no bundle.
    """
    path = report_path(folder)
    write_text(path, page(read_known(load_bundle(folder, verify=False))))
    return path


def report_path(folder: Path) -> Path:
    """Where the page of a bundle's folder is."""
    return folder / REPORT_FOLDER / PAGE_FILE


def page(known: Known) -> str:
    """The page's HTML."""
    record = known.validation
    groups = [
        record and accuracy_group(record),
        device_group(known.devices, known.records),
        profile_group(known.profiles),
        record and answers_group(record, known.thumb),
        known.stress and stress_group(known.stress),
        *map(sensitivity_group, known.sensitivity),
        *map(search_group, known.searches),
        history_group(known.history),
        record and files_group(record),
    ]
    shown = [g for g in groups if g]
    footer = tag(
        "footer",
        "Drops: paired with the float network image by image; intervals: 95 %, bootstrap over "
        "images. No timed value is left out. The same figures as JSON lie in the bundle's folders "
        "report, devices, stress, sensitivity, search, profile and history.",
    )
    first = first_screen(known, decide(known))
    title = f"Report of {known.model}"
    bodies = (g.html for g in shown)
    parts = first, _contents(shown), *bodies, footer
    return document(title, "".join(_STYLES), *parts, pictures=True)


def _contents(groups: list[Group]) -> Html | None:
    """Links to the groups."""
    if not groups:
        return None
    links = [tag("li", tag("a", g.title, href=f"#{g.anchor}")) for g in groups]
    return tag("nav", tag("ul", *links), class_="contents", aria_label="Contents")
