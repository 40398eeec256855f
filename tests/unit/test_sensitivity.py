"""Sensitivity: switching, running from a layer on, what is measured, the ranking, the outputs."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mobilemod.errors import UserError
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.forms.canonical import Canonical
from mobilemod.forms.mobile_ops import COREML_FORM, XNNPACK_FORM, Tap
from mobilemod.results.sensitivity.page import write_page
from mobilemod.results.sensitivity.table import text_table
from mobilemod.tasks.classification import TASK
from quantization.calibration import Calibration, observe
from quantization.params import ParameterTable
from quantization.program import make_table, quantize
from quantization.recipe import load_recipe
from quantization.sensitivity.effects import (
    PARTS,
    Effect,
    Finding,
    Item,
    Measured,
    Sensitivity,
    effect,
    make_items,
    measure,
    summarize,
)
from quantization.sensitivity.program import (
    CODE_BINS,
    FIRST_CODE,
    SwitchedProgram,
    code_counts,
)
from quantization.sensitivity.record import SCHEMA, make_record

FORMS = {"xnnpack": XNNPACK_FORM, "coreml": COREML_FORM}
HOSTILE = '<script>alert("x")</script>&\'"'


@pytest.fixture(scope="module")
def images():
    """float32 (8, 3, 64, 64): smooth, as photographs are."""
    coarse = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(3))
    return F.interpolate(coarse, size=(64, 64), mode="bicubic")


class Case:
    """A network's form with its table, switched, and its items by module."""

    def __init__(
        self, canonical, images, form="xnnpack", recipe="cpu", observer="mse", by="module"
    ):
        self.form = canonical.form(FORMS[form])
        # The tensors of both forms have the names that the xnnpack form's calibration knows.
        observed = observe(canonical.form(XNNPACK_FORM), images.split(4), 2)
        rules = dataclasses.replace(load_recipe(recipe), observer=observer)
        self.table = make_table(self.form, form, rules, Calibration("w", "i", 8, observed))
        self.program = SwitchedProgram(self.form, self.table)
        self.modules = set(canonical.modules)
        self.items = make_items(self.program, self.table, by, self.modules)

    def part(self, names) -> torch.nn.Module:
        """The quantized program of a part of the table, as an export would make it."""
        entries = {k: v for k, v in self.table.entries.items() if k in set(names)}
        return quantize(self.form, ParameterTable(self.table.form, "part", entries), True)

    def summary(self, images, targets=None) -> Sensitivity:
        alone, left = (
            [measure(self.program, self.items, x, part) for x in images.split(4)] for part in PARTS
        )
        names = [tap.tensor for tap in self.program.taps]
        return summarize(self.items, names, alone, left, targets, TASK)


@pytest.fixture(scope="module")
def case(shallow_form, images) -> Case:
    return Case(shallow_form, images)


@pytest.fixture(scope="module")
def found(case, images) -> Sensitivity:
    return case.summary(images)


@pytest.fixture
def record(case, found) -> dict:
    about = {"model": "narrow", "weights": "w", "images": 8, "damaged": []}
    return make_record(found, case.table, "module", about, TASK)


@pytest.mark.parametrize("recipe", ["cpu", "npu"])
@pytest.mark.parametrize("form", list(FORMS))
def test_any_selection_is_the_quantized_program_of_that_part(shallow_form, images, form, recipe):
    case = Case(shallow_form, images, form, recipe)
    names = list(case.table.entries)
    rng = np.random.default_rng(5)
    parts = [names, [], *(list(rng.choice(names, len(names) // 2, False)) for _ in range(3))]
    with torch.inference_mode():
        for part in parts:
            case.program.select(part)
            assert torch.equal(case.program.run(0, images[:2]), case.part(part)(images[:2]))
        case.program.select(())
        assert torch.equal(case.program.run(0, images[:2]), case.form(images[:2]))


@pytest.mark.parametrize("part", PARTS)
def test_running_from_the_changed_layer_changes_no_bit(case, images, part):
    x = images[:2]
    measured = measure(case.program, case.items, x, part)
    names = set(case.table.entries)
    positions = {item.position for item in case.items}
    assert positions >= set(range(len(case.form.layers)))
    # The first item of every layer, and the last ones: all kinds of cuts.
    firsts = {item.position: i for i, item in reversed(list(enumerate(case.items)))}
    with torch.inference_mode():
        for i in sorted({*firsts.values(), len(case.items) - 1}):
            own = set(case.items[i].tensors)
            whole = case.part(own if part == "alone" else names - own)
            assert np.array_equal(measured.outputs[i], whole(x).numpy()), case.items[i].name
        base = case.form if part == "alone" else case.part(names)
        assert np.array_equal(measured.base, base(x).numpy())


def test_nothing_int8_loses_nothing_and_everything_what_the_program_loses(case, images):
    nothing = Item("nothing", "module", (), 0)
    everything = Item("everything", "module", tuple(case.table.entries), 0)
    names = [tap.tensor for tap in case.program.taps]
    alone, left = ([measure(case.program, [nothing, everything], images, part)] for part in PARTS)
    got = summarize([nothing, everything], names, alone, left, None, TASK)
    with torch.inference_mode():
        program = sqnr_db(case.form(images).numpy(), case.part(case.table.entries)(images).numpy())
    assert math.isfinite(program) and got.quantized.sqnr_db == program
    first, second = got.findings
    assert first.alone == Effect(math.inf, 0.0, 0.0, 100.0)
    assert first.left_float == got.quantized and first.gain_db == 0.0
    assert second.alone == got.quantized
    assert second.left_float.sqnr_db == math.inf and second.gain_db == math.inf


def blown_up(canonical: Canonical, mlp: str) -> Canonical:
    """One channel 50 times larger, which the next layer undoes."""
    state = {k: v.clone() for k, v in canonical.state().items()}
    state[f"{mlp}.fc1.weight"][3] *= 50
    state[f"{mlp}.fc1.bias"][3] *= 50
    state[f"{mlp}.fc2.weight"][:, 3] /= 50
    return canonical.with_state(state)


@pytest.mark.parametrize(
    "form, block", [("xnnpack", "layers.2.blocks.0"), ("coreml", "layers.3.blocks.0")]
)
def test_a_blown_up_channel_is_found(shallow_form, images, form, block):
    """One channel 50 times larger, which the next layer undoes: its range ruins all others."""
    case = Case(blown_up(shallow_form, f"{block}.mlp"), images, form, observer="minmax")
    got = case.summary(images)
    culprit = f"{block}.mlp.fc1"
    assert got.worst_alone()[0].item.name == culprit
    assert got.worst_left_float()[0].item.name == culprit
    sound = Case(shallow_form, images, form, observer="minmax").summary(images)
    assert sound.worst_alone()[0].item.name != culprit
    assert got.quantized.sqnr_db < sound.quantized.sqnr_db - 3


def test_by_tensor_the_blown_up_channel_is_in_its_activation(shallow_form, images):
    blown = blown_up(shallow_form, "layers.3.blocks.0.mlp")
    got = Case(blown, images, observer="minmax", by="tensor").summary(images)
    worst = {f.item.name for f in got.worst_alone()[:2]}
    assert worst == {f"layers.3.blocks.0.mlp.fc1:{role}" for role in ("out", "gelu")}
    assert got.worst_left_float()[0].item.name in worst


@pytest.mark.parametrize("by", ["module", "tensor"])
def test_items_hold_every_tensor_once(shallow_form, images, case, by):
    items = make_items(case.program, case.table, by, case.modules)
    held = [tensor for item in items for tensor in item.tensors]
    assert sorted(held) == sorted(case.table.entries) and len(held) > 80
    owner = {tensor: item for item in items for tensor in item.tensors}
    for name, entry in case.table.entries.items():
        if entry.source in case.table.entries:
            assert owner[name] is owner[entry.source]
    if by == "module":
        assert {item.name for item in items} <= case.modules
        qkv = next(i for i in items if i.name == "layers.3.blocks.0.attn.qkv")
        assert {f"{qkv.name}.{part}:weight" for part in range(3)} <= set(qkv.tensors)
    else:
        assert {item.name for item in items} <= set(case.table.entries)
        assert {item.kind for item in items} == {"activation", "weight"}


def test_the_same_images_give_the_same_findings(case, found, images, shallow_form):
    again = Case(shallow_form, images).summary(images)
    key = lambda f: (f.item, f.alone, f.left_float, f.gain_db)  # noqa: E731
    assert [key(f) for f in again.findings] == [key(f) for f in found.findings]


def test_effect_is_cross_entropy_divergence_and_agreement():
    rng = np.random.default_rng(2)
    a = rng.standard_normal((30, 5)).astype(np.float32) * 3
    b = a + rng.standard_normal((30, 5)).astype(np.float32)
    targets = rng.integers(0, 5, 30)
    got = effect(a, b, targets, TASK)
    ta, tb = torch.from_numpy(a).double(), torch.from_numpy(b).double()
    loss = [F.cross_entropy(t, torch.from_numpy(targets)) for t in (ta, tb)]
    kl = F.kl_div(tb.log_softmax(1), ta.log_softmax(1), log_target=True, reduction="batchmean")
    assert got.loss_change == pytest.approx(float(loss[1] - loss[0]))
    assert got.kl == pytest.approx(float(kl)) and got.kl > 0
    assert got.agreement == pytest.approx(100 * np.mean(a.argmax(1) == b.argmax(1)))
    assert got.sqnr_db == sqnr_db(a, b)


def test_without_labels_the_loss_is_against_the_float_networks_answers(case, found, images):
    with torch.inference_mode():
        logits = case.form(images)
    loss = F.cross_entropy(logits.double(), logits.argmax(1))
    assert not found.labelled and found.float_loss == pytest.approx(float(loss), rel=1e-5)
    targets = np.arange(8) % 10
    known = case.summary(images, targets)
    loss = F.cross_entropy(logits.double(), torch.from_numpy(targets))
    assert known.labelled and known.float_loss == pytest.approx(float(loss), rel=1e-5)
    # Only the loss looks at labels.
    assert [f.alone.sqnr_db for f in known.findings] == [f.alone.sqnr_db for f in found.findings]


def test_code_counts_are_the_float_networks_values(case, images):
    values = {}
    handles = [
        m.register_forward_hook(lambda m, a, out: values.__setitem__(m.tensor, out.numpy()))
        for m in case.form.modules()
        if isinstance(m, Tap)
    ]
    with torch.inference_mode():
        case.form(images)
        counts, power = code_counts(case.program, images)
    for handle in handles:
        handle.remove()
    assert counts.shape == (len(case.program.taps), CODE_BINS)
    clipped = 0
    for tap, row, (signal, noise) in zip(case.program.taps, counts, power, strict=True):
        x = values[tap.tensor].astype(np.float64)
        entry = case.table.entries[tap.tensor]
        codes = np.round(x / entry.scale[0]) + entry.zero_point[0]
        held = np.clip(codes, -128, 127)
        assert row.sum() == x.size
        # float32 rounds a code's half the other way now and then.
        outside = row[: -128 - FIRST_CODE].sum() + row[128 - FIRST_CODE :].sum()
        assert abs(outside - (codes != held).sum()) <= max(2, x.size // 1000)
        clipped += outside
        back = (held - entry.zero_point[0]) * entry.scale[0]
        assert signal == pytest.approx((x**2).sum(), rel=1e-4)
        assert noise == pytest.approx(((x - back) ** 2).sum(), rel=1e-2)
    assert clipped > 0


def ranked(*pairs: tuple[float, float]) -> Sensitivity:
    """Findings with these SQNR alone and gains, named a, b, c …"""
    findings = tuple(
        Finding(
            Item(chr(97 + i), "module", (), 0),
            Effect(alone, 0.0, 0.0, 100.0),
            Effect(30.0, 0.0, 0.0, 100.0),
            gain,
            {},
        )
        for i, (alone, gain) in enumerate(pairs)
    )
    return Sensitivity(findings, Effect(20.0, 0.0, 0.0, 100.0), 1.0, True)


def test_ranking_has_the_broken_first_and_keeps_network_order_for_equals():
    got = ranked((30.0, 1.0), (math.inf, 0.0), (math.nan, math.inf), (12.0, -1.0), (30.0, 1.0))
    assert [f.item.name for f in got.worst_alone()] == ["c", "d", "a", "e", "b"]
    assert [f.item.name for f in got.worst_left_float()] == ["c", "a", "e", "b", "d"]


def test_logits_that_are_not_finite(case):
    item = Item("a", "module", (), 0)
    good = np.ones((2, 3), np.float32) * np.arange(3, dtype=np.float32)
    bad = good.copy()
    bad[0, 0] = np.nan
    none, power = np.zeros((0, CODE_BINS), np.int64), np.zeros((0, 2))

    def batch(base, logits):
        return [Measured(base, logits[None], none, power)]

    got = summarize([item], [], batch(good, bad), batch(bad, good), None, TASK)
    record = make_record(
        got, case.table, "module", {"model": "m", "weights": "w", "images": 2, "damaged": []}, TASK
    )
    assert record["items"][0]["alone"]["sqnr_db"] is None
    assert record["items"][0]["alone"]["identical"] is False
    assert got.findings[0].gain_db == math.inf
    assert "n/a" in text_table(record)
    json.dumps(record, allow_nan=False)
    with pytest.raises(UserError, match="not finite"):
        summarize([item], [], batch(bad, good), batch(good, good), None, TASK)


def test_gain_noise_is_the_spread_of_gains_that_are_none():
    """Many items whose logits differ from the program's by chance, and one that truly gains."""
    rng = np.random.default_rng(4)
    reference = rng.standard_normal((64, 10)).astype(np.float32)

    def noisy(scale=0.1):
        return reference + np.float32(scale) * rng.standard_normal((64, 10)).astype(np.float32)

    whole, count = noisy(), 150
    items = [Item(str(i), "module", (), 0) for i in range(count)]
    logits = np.stack([*(noisy() for _ in items[1:]), noisy(0.03)])
    none, power = np.zeros((0, CODE_BINS), np.int64), np.zeros((0, 2))

    def summary(images):
        alone = Measured(reference[:images], logits[:, :images], none, power)
        left = Measured(whole[:images], logits[:, :images], none, power)
        return summarize(items, [], [alone], [left], None, TASK)

    got = summary(64)
    gains = np.array([f.gain_db for f in got.findings])
    # All share the program's own noise, which moves their mean and not their spread.
    spread = gains[:-1].std()
    assert spread / 2 < got.gain_noise_db < 2 * spread
    assert gains[-1] > 9 and got.worst_left_float()[0].item.name == str(count - 1)
    assert summary(4).gain_noise_db is None


NUMBER = (int, float)
EFFECT = {
    "sqnr_db": (int, float, type(None)),
    "identical": bool,
    "loss_change": NUMBER,
    "kl": NUMBER,
    "top1_agreement_percent": NUMBER,
}
USE = {
    "tensor": str,
    "sqnr_db": (int, float, type(None)),
    "clipped_share": NUMBER,
    "used_codes": int,
}
ITEM = {
    "name": str,
    "kind": str,
    "tensors": [str],
    "order": int,
    "rank_alone": int,
    "rank_left_float": int,
    "alone": EFFECT,
    "left_float": {**EFFECT, "gain_db": NUMBER},
    "activations": [USE],
}
HISTOGRAM = {
    **USE,
    "item": str,
    "scale": NUMBER,
    "zero_point": int,
    "low": NUMBER,
    "high": NUMBER,
    "first_code": int,
    "counts": [int],
}
RECORD = {
    "schema": str,
    "model": str,
    "weights": str,
    "images": int,
    "damaged": [str],
    "form": str,
    "recipe": str,
    "by": str,
    "targets": str,
    "float_loss": NUMBER,
    "quantized": EFFECT,
    "gain_noise_db": (int, float, type(None)),
    "items": [ITEM],
    "histograms": [HISTOGRAM],
}


def fits(value, spec, at="record"):
    if isinstance(spec, dict):
        assert set(value) == set(spec), at
        for key, part in spec.items():
            fits(value[key], part, f"{at}.{key}")
    elif isinstance(spec, list):
        assert isinstance(value, list), at
        for entry in value:
            fits(entry, spec[0], at)
    else:
        assert isinstance(value, spec), at
        assert bool in (spec if isinstance(spec, tuple) else (spec,)) or value is not True, at


def test_record_has_the_documented_keys(record):
    again = json.loads(json.dumps(record, allow_nan=False))
    assert again == record
    fits(again, RECORD)
    assert record["schema"] == SCHEMA
    items = record["items"]
    assert [i["rank_alone"] for i in items] == list(range(1, len(items) + 1))
    for key in ("rank_left_float", "order"):
        counted = sorted(i[key] for i in items)
        assert counted == list(range(counted[0], counted[0] + len(items)))
    alone = [i["alone"]["sqnr_db"] for i in items]
    assert alone == sorted(alone)
    for entry in record["histograms"]:
        assert len(entry["counts"]) == CODE_BINS and sum(entry["counts"]) > 0
        assert entry["high"] - entry["low"] == pytest.approx(255 * entry["scale"])
    assert len(record["histograms"]) == 8


def test_every_key_is_in_the_documentation(record):
    text = (Path(__file__).parents[2] / "docs" / "schemas.md").read_text("utf-8")
    row = next(line for line in text.splitlines() if f"`{SCHEMA}`" in line)
    item, histogram = record["items"][0], record["histograms"][0]
    parts = (record, item, item["left_float"], histogram, record["quantized"])
    for key in {key for part in parts for key in part} - {"schema"}:
        assert f"`{key}`" in row, key


def test_text_table_has_the_worst_first(record):
    text = text_table(record, rows=5)
    lines = text.splitlines()
    rows = [line.split() for line in lines if re.match(r"^\s*\d+  ", line)]
    assert [row[1] for row in rows] == [i["name"] for i in record["items"][:5]]
    assert [float(row[2]) for row in rows] == sorted(float(row[2]) for row in rows)
    assert f"and {len(record['items']) - 5} more" in text
    best = next(i for i in record["items"] if i["rank_left_float"] == 1)
    assert lines[-5].endswith(best["name"])
    assert "the float network's own top-1" in lines[0]


class Tags(HTMLParser):
    """All tags and attributes, and the text."""

    def __init__(self, markup: str):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(markup)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)

    def all(self, name: str) -> list[dict]:
        return [attributes for tag, attributes in self.tags if tag == name]


def test_page_shows_everything_and_needs_nothing(record, tmp_path):
    page = tmp_path / "page.html"
    write_page(record, page)
    markup = page.read_text("utf-8")
    parsed = Tags(markup)
    text = "".join(parsed.text)
    for item in record["items"]:
        assert f"{item['rank_alone']}. {item['name']}" in text
    depth, *histograms = parsed.all("svg")
    assert depth["class"] == "depth" and len(histograms) == 8
    assert len(parsed.all("circle")) == len(record["items"])
    assert {a["class"] for a in parsed.all("rect")} >= {"held"}
    assert not parsed.all("script") and not parsed.all("link") and not parsed.all("img")
    assert not re.search(r"(?:src|href)=|url\(|https?://", markup)
    assert 'name="viewport"' in markup and "prefers-color-scheme: dark" in markup


def test_page_escapes_names(record, tmp_path):
    record["model"] = record["items"][0]["name"] = record["histograms"][0]["tensor"] = HOSTILE
    write_page(record, tmp_path / "page.html")
    parsed = Tags((tmp_path / "page.html").read_text("utf-8"))
    assert not parsed.all("script")
    assert HOSTILE in "".join(parsed.text)


def test_histogram_bars_end_where_the_range_ends(record, tmp_path):
    """No bar holds both clipped and held values: the red ones' counts are the clipped share."""
    from mobilemod.results.sensitivity.plot import histogram

    entry = {**record["histograms"][0], "counts": [0] * CODE_BINS}
    entry["counts"][-129 - FIRST_CODE] = entry["counts"][128 - FIRST_CODE] = 7
    for code in range(-128, 128):
        entry["counts"][code - FIRST_CODE] = 5
    rects = [r for r in Tags(histogram(entry)).all("rect") if r["class"] != "outside"]
    held = [r for r in rects if r["class"] == "held"]
    cut = [r for r in rects if r["class"] == "cut"]
    assert len(cut) == 2
    ends = [int(r["x"]) + int(r["width"]) for r in held]
    assert min(int(r["x"]) for r in held) == -128 - FIRST_CODE
    assert max(ends) == 128 - FIRST_CODE
