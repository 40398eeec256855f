"""Advice: every place has a file to ship, every target a place, and figures are those measured."""

from __future__ import annotations

import dataclasses

import pytest

from export.verbs.main import main
from mobilemod.manifest import load_bundle
from mobilemod.results.advice import NOT_MEASURED, advice_text, advise, shipping
from mobilemod.targets import TARGETS
from mobilemod.targets.facts import PLACES
from tests.harness.conftest import make_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("advice") / "bundle")


def test_every_place_has_one_first_choice():
    ranks = {place: [] for place in PLACES}
    for facts in TARGETS.values():
        for use in facts.uses:
            ranks[use.place].append(use.rank)
            assert use.engine and use.why and use.ran
    assert all(sorted(r) == list(range(1, len(r) + 1)) and r for r in ranks.values()), ranks


def test_the_best_file_that_is_there_is_named(bundle, capsys):
    assert main(["advise", str(bundle)]) == 0
    said = capsys.readouterr().out
    held = {e.file for e in load_bundle(bundle).manifest.files}
    for words in PLACES.values():
        part = said.partition(f"{words}:\n")[2].partition(":\n")[0]
        assert any(name in part for name in held) or "not in the bundle" in part, words
    assert NOT_MEASURED in said and "--targets" in said


def test_a_recipe_that_is_for_another_place_is_told(bundle):
    """A file for an NPU is none for a phone's processor, and the other way round."""
    loaded = load_bundle(bundle)
    recipe = loaded.manifest.recipe

    def told(name: str) -> dict[str, list]:
        manifest = loaded.manifest.model_copy(
            update={"recipe": recipe.model_copy(update={"name": name})}
        )
        record = advise(dataclasses.replace(loaded, manifest=manifest))
        assert "another recipe is the faster one here" in advice_text(record)
        return {
            p["place"]: [c["make"] for c in p["choices"] if c["file"] and c["target"] == "tflite"]
            for p in record["places"]
        }

    assert told("cpu-mixed") == told("cpu")
    assert told("cpu")["android-dot"] == [None]
    assert told("cpu")["android-npu"][0].endswith("--targets tflite --recipe npu16")
    assert told("npu16")["android-npu"] == [None]
    assert told("npu16")["android-dot"][0].endswith("--recipe cpu")
    assert told("npu16")["x86"] == [None]  # where float is shipped


def test_a_report_says_where_int8_pays(bundle):
    """The best file there is of each place, and float where int8 isn't faster."""
    rows = {row["where"]: row for row in shipping(load_bundle(bundle))}
    assert set(rows) == set(PLACES.values())
    held = {e.file: e.precision for e in load_bundle(bundle).manifest.files}
    assert held[rows[PLACES["android-dot"]]["file"]] == "int8"
    assert held[rows[PLACES["x86"]]["file"]] != "int8"
    assert "1.05 times" in rows[PLACES["x86"]]["why"]


def test_measured_figures_are_told(bundle):
    loaded = load_bundle(bundle)
    file = loaded.manifest.files[0].file
    drop = {"points": 0.25, "low": 0.0, "high": 0.5}
    accuracy = {"images": 400, "predictions": [{"file": file, "top1_percent": 80.5, "drop": drop}]}
    manifest = loaded.manifest.model_copy(update={"accuracy": accuracy})
    record = advise(dataclasses.replace(loaded, manifest=manifest))
    told = [c for p in record["places"] for c in p["choices"] if c["file"] == file]
    assert told and all(c["metric"] == 80.5 and c["drop"] == drop for c in told)
    assert "80.50 of 400 images, drop 0.25 [0.00, 0.50]" in advice_text(record)
