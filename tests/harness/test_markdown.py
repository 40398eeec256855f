"""A bundle as Markdown: a pull request's summary, and a card with its folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from export.verbs.main import main
from mobilemod.errors import UserError
from mobilemod.files import write_json
from mobilemod.manifest import load_bundle
from mobilemod.results.markdown.card import write_card
from mobilemod.results.markdown.summary import MOST, summary
from mobilemod.results.markdown.table import plain, table
from mobilemod.results.report.decision import decide
from mobilemod.results.report.known import read_known
from mobilemod.sealed import sealed
from tests.harness.test_whole_report import measured, validation  # noqa: F401

INT8 = "tiny_int8.tflite"


def rendered(text: str) -> str:
    """HTML of GitHub-flavoured Markdown's tables and HTML blocks."""
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


def test_what_markdown_reads_as_its_own_stays_text():
    odd = "a|b `c` *d* _e_ <img src=x> [f](g) # h\ni"
    html = rendered(table(["x", "y"], [[plain(odd), "1"]], frozenset({1})))
    assert html.count("<td") == 2 and "<img" not in html and "<a " not in html
    assert "a|b `c` *d* _e_ &lt;img src=x&gt; [f](g) # h i" in html


def test_a_summary_tells_the_state_and_the_files(measured, capsys):  # noqa: F811
    bundle = load_bundle(measured)
    text = summary(bundle)
    decision = decide(read_known(bundle))
    html = rendered(text)
    assert decision.badge in html and decision.sentence in text
    assert html.count("<table>") == 1 and INT8 in html and "<details>" in html
    against = [r for r in decision.reasons if r.state != "pass"]
    assert against and all(plain(r.line) in text for r in against)
    assert len(text) < 65_536


def test_a_summary_of_too_much_leaves_whole_tables_to_the_report(measured, monkeypatch):  # noqa: F811
    monkeypatch.setattr("mobilemod.results.markdown.summary.MOST", 500)
    text = summary(load_bundle(measured))
    assert "too long for here" in text and "All figures" in text
    assert MOST < 65_536


@pytest.mark.parametrize("lost,badge", [(0, "Look first"), (40, "Don't ship it")])
def test_a_drop_decides(measured, tmp_path, lost, badge):  # noqa: F811
    record = measured / "report" / "validation.json"
    before = record.read_bytes()
    try:
        bundle = load_bundle(measured)
        write_json(record, sealed(validation(bundle.identity, lost)))
        assert badge in summary(bundle).splitlines()[0]
    finally:
        record.write_bytes(before)


def test_validate_writes_it(tiny_source, tmp_path, capsys):
    path = tmp_path / "summary.md"
    main(["validate", str(tiny_source), "--audit-only", "--markdown", str(path)])
    assert path.read_text("utf-8").startswith("## ")
    capsys.readouterr()
    main(["validate", str(tiny_source), "--audit-only", "--markdown", "-"])
    assert path.read_text("utf-8") in capsys.readouterr().out


def test_a_card_is_a_hubs(measured, tmp_path):  # noqa: F811
    bundle = load_bundle(measured)
    path = write_card(bundle, tmp_path / "hub")
    card = ModelCard.load(path)
    card.data.to_dict()
    results = {r.metric_name: r.metric_value for r in card.data.eval_results}
    (row,) = (p for p in read_known(bundle).validation["predictions"] if p["file"] == INT8)
    assert [*results.values()] == [round(row["top1_percent"], 2)]
    assert card.data.library_name == "mobilemod" and "tflite" in card.data.tags
    html = rendered(card.text)
    assert html.count("<table>") == 3 and "CompiledModel.create" in html
    assert str(measured) not in card.content and str(Path.home()) not in card.content
    again = load_bundle(path.parent)
    assert again.identity == bundle.identity
    assert (path.parent / "report" / "report.html").is_file()


def test_a_card_leaves_nothing_half_written(measured, tmp_path):  # noqa: F811
    bundle = load_bundle(measured)
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="is there already"):
        write_card(bundle, tmp_path / "there")
    with pytest.raises(UserError, match="lies in the bundle"):
        write_card(bundle, measured / "hub")
    assert main(["card", str(tmp_path), "--out", str(tmp_path / "hub")]) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["there"]


def test_the_verb_tells_where(measured, tmp_path, capsys):  # noqa: F811
    assert main(["card", str(measured), "--out", str(tmp_path / "hub"), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["card"] == str(tmp_path / "hub" / "README.md")
