"""The record, its schema, the gates, the terminal table and the HTML report."""

from __future__ import annotations

import base64
import copy
import io
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.verbs.options import gates_code
from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import Predictions, drop_of
from mobilemod.results.axes import nice_ticks
from mobilemod.results.gates import Gates, check, judge_file, judged
from mobilemod.results.report.known import Known
from mobilemod.results.report.page import page
from mobilemod.results.report.pictures import Pictures
from mobilemod.results.schema import SCHEMA_VERSION, build_record, json_ready, validate_record
from mobilemod.results.style import STYLE
from mobilemod.results.table import text_table
from mobilemod.results.validation import image_cards, per_class
from mobilemod.results.verdict import Verdict
from mobilemod.tasks.classification import page as class_page
from mobilemod.tasks.classification.doubt import Reference

HOSTILE = '<script>alert("x")</script>&\'"'
IMAGES, CLASSES = 200, 10
LABELS = [f"class {i}" for i in range(CLASSES - 1)] + [HOSTILE]
AUDITS = {
    "model.tflite": {
        "int8_mac_share": 0.9973,
        "partitions": 1,
        "qdq_pairs": 12,
        "float_ops": {"RSQRT": 23, HOSTILE: 9},
        "float_modules": [{"op": "SOFTMAX", "module": "blocks.2.attn"}],
    },
    "model.pte": {"int8_mac_share": np.float32(0.9913), "transposes": 0, "note": HOSTILE},
}
SHIPPED = {
    "where": HOSTILE,
    "file": "model.tflite",
    "engine": "LiteRT",
    "why": "fast",
    "ran": "here",
}
INFO = {
    "model": HOSTILE,
    "files": {"model.tflite": {"bytes": 5_400_000, "sha256": "0" * 64}},
    "shipping": [{**SHIPPED, "make": None}, {**SHIPPED, "make": "mobilemod export --recipe cpu"}],
}


def synthetic(noise: float = 0.35) -> tuple[list[Predictions], np.ndarray]:
    """Logits of models that are right on most images and differ on some."""
    rng = np.random.default_rng(7)
    targets = np.arange(IMAGES) % CLASSES
    base = rng.normal(size=(IMAGES, CLASSES)).astype(np.float32)
    base[np.arange(IMAGES), targets] += 3.0

    def noisy(scale: float) -> np.ndarray:
        return (base + scale * rng.normal(size=base.shape)).astype(np.float32)

    models = [
        Predictions("torch float", base, "reference", None, "torch 2"),
        Predictions("quantized program", noisy(noise), "program", None, "torch 2"),
        Predictions("tflite int8", noisy(noise), "int8", "model.tflite", "LiteRT, XNNPACK"),
        Predictions("executorch int8", noisy(noise), "int8", "model.pte", HOSTILE),
        Predictions("tflite float", base.copy(), "float", "model-float.tflite", "LiteRT"),
    ]
    return models, targets


def names() -> list[str]:
    return [f"{HOSTILE}/{i}.JPEG" for i in range(IMAGES)]


@pytest.fixture
def record() -> dict:
    models, targets = synthetic()
    return build_record(models, targets, LABELS, names(), [f"bad/{HOSTILE}.jpg"], INFO, AUDITS)


def exact(lost: int, won: int, images: int = 1000, agree: int | None = None) -> dict:
    """A record whose first int8 file loses and wins exactly these counts."""
    targets = np.zeros(images, np.int64)
    reference, file = np.tile([1.0, 0.0, 0.0], (2, images, 1)).astype(np.float32)
    file[:lost] = reference[lost : lost + won] = [0, 1, 0]
    models = [Predictions("torch float", reference, "reference")]
    models.append(Predictions("tflite int8", file, "int8"))
    if agree is not None:
        other = file.copy()
        other[agree:] = [0, 0, 1]
        models.append(Predictions("coreml int8", other, "int8"))
    return build_record(models, targets, list("abc"), ["x"] * images, [], {}, {})


def drop_from(lost: int, won: int, total: int) -> dict:
    """A record's drop of these counts."""
    order = np.arange(total)
    return asdict(drop_of((order < lost) | (order >= lost + won), order >= lost))


def sure(images: int) -> Reference:
    """A float network that is right on nine of ten images."""
    return Reference(90.0, images, 10, 10)


def test_record_survives_json_and_holds_the_figures(record: dict):
    again = json.loads(json.dumps(record, allow_nan=False))
    assert again == record
    validate_record(again)
    assert record["schema"] == SCHEMA_VERSION and record["measured"] is True
    models, targets = synthetic()
    for p, row in zip(models, record["predictions"], strict=True):
        assert row["top1_percent"] == pytest.approx(100 * (p.outputs.argmax(1) == targets).mean())
        assert (row["drop"] is None) == (p.role == "reference")
    tflite = record["predictions"][2]
    assert tflite["bytes"] == 5_400_000 and record["predictions"][3]["bytes"] is None
    assert tflite["drop"]["lost"] > tflite["drop"]["won"] > 0
    assert len(record["agreement"]) == 10
    same = record["agreement"][3]
    assert (same["other"], same["identical"], same["sqnr_db"]) == ("tflite float", True, None)
    counts = [c["images"] * c["top1_percent"][2] / 100 for c in record["per_class"]]
    assert sum(counts) == pytest.approx(tflite["top1_percent"] * IMAGES / 100)
    assert [w["name"] for w in record["worst_images"]] == ["tflite int8", "executorch int8"]
    assert record["audits"]["model.pte"]["int8_mac_share"] == pytest.approx(0.9913)


def test_file_size_from_a_list_or_an_audit():
    models, targets = synthetic()
    info = {"files": [{"name": "model.pte", "bytes": 7}]}
    got = build_record(models, targets, LABELS, names(), [], info, {"model.tflite": {"bytes": 9}})
    assert [p["bytes"] for p in got["predictions"]] == [None, None, 9, 7, None]


def _set(path: str, value: object) -> Callable[[dict], None]:
    def change(record: dict) -> None:
        *steps, last = re.findall(r"\w+", path)
        at = record
        for step in steps:
            at = at[int(step)] if isinstance(at, list) else at[step]
        at[int(last) if isinstance(at, list) else last] = value

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda r: r.pop("data"), "data is missing"),
        (
            lambda r: r["predictions"][2]["drop"].pop("low"),
            r"predictions\[2\]\.drop\.low is missing",
        ),
        (lambda r: r.update(extra=1), "extra is not a key"),
        (_set("schema", "mobilemod/validation/9"), "validation/9"),
        (_set("measured", False), "measured must be"),
        (
            _set("predictions[0].top1_percent", "91"),
            r"predictions\[0\]\.top1_percent: input should be a valid number",
        ),
        (_set("predictions[0].top1_percent", 101), "less than or equal to 100"),
        (_set("predictions[1].top5_percent", float("nan")), "finite"),
        (
            _set("predictions[1].non_finite", True),
            "non_finite: input should be a valid integer, not True",
        ),
        (_set("predictions[1].role", "int4"), r"predictions\[1\]\.role"),
        (_set("predictions[1].name", "torch float"), "predictions.1..name must be unique"),
        (_set("agreement[0].other", "nobody"), r"agreement\[0\]\.other"),
        (_set("agreement", {}), "agreement: input should be a valid list"),
        (_set("data", []), "data: input should be a valid dictionary"),
        (_set("per_class[3].top1_percent", [1.0]), r"per_class\[3\]\.top1_percent must be 5 long"),
        (_set("disagreements[0].index", IMAGES), r"disagreements\[0\]\.index"),
        (_set("disagreements[0].top1[1]", CLASSES), r"disagreements\[0\]\.top1"),
        (_set("worst_images[1].images[0].target", -1), r"worst_images\[1\]\.images\[0\]\.target"),
        (_set("verdicts", [{"name": "x"}]), r"verdicts\[0\]\.passed is missing"),
    ],
)
def test_schema_names_what_is_wrong(record: dict, change: Callable, named: str):
    validate_record(record)
    broken = copy.deepcopy(record)
    change(broken)
    with pytest.raises(UserError, match=named) as error:
        validate_record(broken)
    assert "\n" not in str(error.value)


def test_not_even_an_object():
    with pytest.raises(UserError, match="(?i)input should be a valid dictionary"):
        validate_record([])


def test_inputs_that_do_not_fit():
    models, targets = synthetic()
    cut = Predictions("short", models[0].outputs[:, :4], "int8")
    cases = [
        ([*models, cut], targets, names(), r"short: logits of shape \(200, 4\)"),
        ([*models, models[2]], targets, names(), "tflite int8: a second"),
        (
            [*models, Predictions("b", models[0].outputs, "reference")],
            targets,
            names(),
            "second ref",
        ),
        ([Predictions("b", models[0].outputs, "int4")], targets, names(), "unknown role"),
        (models, targets + 1, names(), "outside the 10 labels"),
        (models, targets[:-1], names(), "199 targets"),
        (models, targets[:0], [], "no image"),
    ]
    for given, truth, images, message in cases:
        with pytest.raises(UserError, match=message):
            build_record(given, truth, LABELS, images, [], {}, {})


def test_json_ready():
    value = {1: (np.int64(2), np.float32("nan")), "p": Path("a/b"), "g": Gates(), "s": {"b", "a"}}
    assert json_ready(value) == {
        "1": [2, None],
        "p": "a/b",
        "g": {"max_drop": 0.5, "max_upper": 1.0, "min_agreement": 99.0, "sample": False},
        "s": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("lost", "won", "passed"), [(5, 0, True), (6, 0, False), (15, 10, True), (20, 30, True)]
)
def test_drop_gate_edges(lost: int, won: int, passed: bool):
    (verdict,) = check(exact(lost, won), Gates(max_upper=10))
    assert verdict.passed is passed
    assert verdict.line.endswith("pass" if passed else "fail")
    assert verdict.line.startswith(f"tflite int8: drop {(lost - won) / 10:.2f}, 95 % [")


@pytest.mark.parametrize(
    ("lost", "won", "total", "passed"),
    [(6, 3, 1966, True), (12, 8, 1000, False), (9, 0, 2000, True), (0, 0, 200, True),
     (0, 0, 100, False)],
)  # fmt: skip
def test_the_gate_is_on_the_upper_end_too(lost: int, won: int, total: int, passed: bool):
    record = exact(lost, won, total)
    (verdict,) = check(record, Gates())
    assert verdict.passed is passed and f"{total:,} images are too few" in verdict.line or passed
    (sample,) = check(record, Gates(sample=True))
    assert sample.state == ("pass" if passed else "undecided")
    assert sample.passed is passed and ("undecided" in sample.line) is not passed
    (lax,) = check(record, Gates(max_upper=5))
    assert lax.passed and lax.line.endswith("gate 5: pass")


@pytest.mark.parametrize(
    ("lost", "won", "total", "state"),
    [(0, 29, 40, "undecided"), (0, 725, 1000, "undecided"), (2, 30, 1966, "undecided"),
     (0, 7, 60, "pass"), (20, 30, 1000, "pass"), (0, 8, 1966, "pass")],
)  # fmt: skip
def test_better_than_float_by_more_than_chance_is_undecided(lost, won, total, state):
    """A reference that is wrong on most images, against gains that chance makes too."""
    for gates in (Gates(max_upper=50), Gates(100, 100), Gates(0, 50)):
        drop = drop_from(lost, won, total)
        verdict = judge_file("f", drop, total, gates, sure(total))
        assert verdict.state == state and verdict.passed is (state == "pass")
        assert ("the reference is not this model's, or the labels aren't" in verdict.line) is (
            state == "undecided"
        )


@pytest.mark.parametrize(
    ("percent", "images", "classes", "of", "doubted"),
    [(7.5, 40, 10, 10, True), (10, 1966, 10, 10, True), (79.96, 1966, 10, 10, False),
     (80, 20, 10, 10, False), (0, 20, 10, 1000, True), (1.2, 1000, 1000, 1000, True),
     (70, 1000, 1000, 1000, False), (50, 1000, 2, 2, True), (75, 1000, 2, 2, False),
     (80, 100, 1, 1000, False), (0, 100, 1, 1000, True), (40, 10, 5, 10, True),
     (50, 6, 6, 10, False)],
)  # fmt: skip
def test_a_float_network_near_chance_decides_nothing(percent, images, classes, of, doubted):
    reference = Reference(percent, images, classes, of)
    verdict = judge_file("f", drop_from(0, 0, images), images, Gates(max_upper=100), reference)
    assert verdict.state == ("undecided" if doubted else "pass")
    failed = judge_file("f", drop_from(images, 0, images), images, Gates(), reference)
    assert failed.state == "fail"


def test_the_headline_and_the_page_say_undecided(tmp_path: Path):
    record = exact(0, 0, 100, agree=100)
    verdicts = check(record, Gates(sample=True))
    assert [v.state for v in verdicts] == ["undecided", "undecided", "pass"]
    shown = page_of(record, gates=Gates(sample=True))
    assert "1 of 3 gates passed, 2 undecided: about 783 images are needed" in shown.text
    assert "All 3 gates passed" not in shown.text
    html = shown.html
    assert 'class="badge undecided"' in html and html.count('<b class="undecided">') == 2 + 1
    (first, *_) = judged(record, verdicts)["verdicts"]
    assert (first["state"], first["passed"], first["images_needed"]) == ("undecided", False, 783)
    assert 'class="badge pass"' not in html


@pytest.mark.parametrize(
    ("states", "code"),
    [(("pass", "pass"), 0), (("pass", "undecided"), 4), (("fail", "undecided"), 1), ((), 0)],
)
def test_exit_codes_of_verdicts_are_those_of_the_docs(states, code):
    assert gates_code(Verdict("g", s, "line").to_dict() for s in states) == code
    page = Path(__file__).parents[2].joinpath("docs/commands.md").read_text("utf-8")
    assert "4 no gate failed but one is undecided" in page


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def test_the_colours_of_verdicts_are_legible_in_light_and_dark():
    for theme in STYLE.split("@media (prefers-color-scheme: dark)"):
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", theme))
        for name in ("good", "open", "bad"):
            for under in (f"{name}-bg", "card"):
                a, b = sorted(luminance(colours[n]) for n in (name, under))
                assert (b + 0.05) / (a + 0.05) >= 4.5, (name, under)
        assert len({colours[n] for n in ("good", "open", "bad")}) == 3


def test_a_sample_still_refutes():
    (verdict,) = check(exact(6, 0, 200), Gates(sample=True))
    assert not verdict.passed and verdict.line.endswith("gate 0.5: fail")


@pytest.mark.parametrize(("agree", "passed"), [(990, True), (989, False), (1000, True)])
def test_agreement_gate_edges(agree: int, passed: bool):
    first, second, pair = check(exact(0, 0, agree=agree), Gates(max_drop=5, max_upper=9))
    assert first.passed and second.passed
    assert (pair.passed, pair.value) == (passed, pytest.approx(agree / 10))
    assert pair.name == "agreement: tflite int8 / coreml int8"


def test_line_never_hides_the_side():
    (verdict,) = check(exact(201, 0, 40_000), Gates())
    assert not verdict.passed and "drop 0.502," in verdict.line
    # 0.3 - 0.1 is a little less than 0.2 in binary; a gate met exactly is met.
    (verdict,) = check(exact(2, 0, 1000), Gates(max_drop=0.3 - 0.1))
    assert verdict.passed


def test_a_gate_never_passes_because_nothing_was_compared():
    models, targets = synthetic()
    lone = build_record(models[2:3], targets, LABELS, names(), [], {}, {})
    assert [v.passed for v in check(lone, Gates())] == [False]
    no_int8 = build_record(models[:2], targets, LABELS, names(), [], {}, {})
    assert [v.passed for v in check(no_int8, Gates())] == [False]
    missing = exact(0, 0, agree=1000)
    missing["agreement"] = []
    assert [v.passed for v in check(missing, Gates())] == [True, True, False]


def test_judged_record_is_valid(record: dict):
    verdicts = check(record, Gates())
    full = judged(record, verdicts)
    validate_record(json.loads(json.dumps(full)))
    assert len(full["verdicts"]) == 3 and record["verdicts"] is None


def test_text_table(record: dict):
    lines = text_table(record).splitlines()
    assert lines[0].split()[:2] == ["model", "top-1"] and set(lines[1]) == {"-"}
    row = next(line for line in lines if line.startswith("tflite int8 "))
    assert "5.40 MB" in row and f"{record['predictions'][2]['top1_percent']:.2f}" in row
    assert any(line.startswith("tflite int8 / executorch int8") for line in lines)
    assert lines[-1].startswith("1 damaged")
    assert "not measured" in text_table(unmeasured())


def unmeasured() -> dict:
    return build_record([], np.zeros(0), LABELS, [], [], {"model": "xxs"}, AUDITS)


class Page(HTMLParser):
    """Collects tags, text and image sources, and checks that every element is closed."""

    VOID = frozenset({"img", "meta", "br", "wbr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        assert not any(k.startswith("on") for k, _ in attrs), attrs
        self.ids += [v for k, v in attrs if k == "id"]
        self.links += [v for k, v in attrs if k == "href"]
        self.sources += [v for k, v in attrs if k == "src"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def page_of(record: dict, images: list[Path] | None = None, gates=None) -> Page:
    found = judged(record, check(record, gates or Gates()))
    thumb = (lambda index: None) if images is None else Pictures(images)
    return Page(page(Known.of_validation(found, thumb)))


def test_report_escapes_every_text(record: dict, tmp_path: Path):
    page = page_of(record)
    assert "script" not in page.tags
    html = page.html
    assert "<script" not in html and "http://" not in html and "https://" not in html
    # The hostile text is there, as text: name, label, runner, audit key and value, damaged.
    assert page.text.count(HOSTILE) >= 6


def test_report_shows_the_figures(record: dict, tmp_path: Path):
    page = page_of(record)
    assert "of 3 gates failed" in page.text
    for p in record["predictions"]:
        assert f"{p['top1_percent']:.2f}" in page.text
    for text in ("5.40 MB", "99.73 %", "The dashed line is the gate, 0.5", "Damaged images", "∞"):
        assert text in page.text
    assert page.tags.count("svg") == 5 and page.sources == []
    passed = page_of(record, gates=Gates(50, 100, 10))
    assert "All 3 gates passed" in passed.text
    assert passed.html != page.html


def test_report_says_where_each_file_goes(record: dict, tmp_path: Path):
    text = page_of(record).text
    assert "Where to ship which file" in text
    assert "another recipe is the faster one here: mobilemod export --recipe cpu" in text


def test_report_is_the_same_each_time(record: dict, tmp_path: Path):
    assert page_of(record).html == page_of(record).html


def test_thumbnails(record: dict, tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "good.jpg")
    Image.fromarray(noise).convert("CMYK").save(tmp_path / "cmyk.jpg")
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "good.jpg").read_bytes()[:500])
    paths = [tmp_path / "good.jpg", tmp_path / "cmyk.jpg", tmp_path / "broken.jpg"]
    page = page_of(record, [paths[i % 3] for i in range(IMAGES)])
    cards = min(len(record["disagreements"]), image_cards.MAX_CARDS) + 12
    assert page.text.count("no picture") + len(page.sources) == cards
    assert 0 < page.text.count("no picture") < len(page.sources)
    for source in page.sources:
        kind, data = source.split(",")
        assert kind == "data:image/jpeg;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (160, 160)


def test_at_most_24_disagreeing_images(tmp_path: Path):
    models, targets = synthetic(noise=3.0)
    got = build_record(models, targets, LABELS, names(), [], {}, {})
    assert len(got["disagreements"]) > image_cards.MAX_CARDS
    html = str(class_page.disagreeing(got, lambda index: None))
    assert html.count('class="card"') == image_cards.MAX_CARDS
    surest = max(got["disagreements"], key=lambda d: d["margin"][0])
    first = re.search(r"/(\d+)\.JPEG", html)
    assert first and int(first[1]) == surest["index"]


def test_report_says_when_nothing_was_measured(tmp_path: Path):
    empty = unmeasured()
    assert check(empty, Gates()) == []
    page = page_of(empty)
    assert "What int8 costs was never measured" in page.text and "99.73 %" in page.text
    assert "svg" not in page.tags and "gates passed" not in page.text


def test_report_with_nothing_different_and_one_image(tmp_path: Path):
    one = np.eye(3, dtype=np.float32)[:1]
    models = [Predictions("torch float", one, "reference"), Predictions("pte int8", one, "int8")]
    got = build_record(models, np.zeros(1, np.int64), list("abc"), ["x"], [], {}, {})
    page = page_of(got, gates=Gates(max_upper=400))
    assert "0 of 1 gate passed, 1 undecided" in page.text and "from chance" in page.text
    assert "every int8 file has torch float" in page.text


def test_report_with_not_finite_logits(tmp_path: Path):
    models, targets = synthetic()
    models[2].outputs[:5] = np.inf
    got = build_record(models, targets, LABELS, names(), [], {}, {})
    json.dumps(got, allow_nan=False)
    page = page_of(got)
    assert "5 not finite" in page.text and "n/a" in page.text and "logits not finite" in page.text
    assert "5 not finite" in text_table(got)


def test_many_classes_show_those_that_lose_most(tmp_path: Path):
    count = 100
    targets = np.repeat(np.arange(count), 2)
    base = np.eye(count, dtype=np.float32)[targets]
    file = base.copy()
    file[84] = np.roll(file[84], 1)
    models = [Predictions("torch float", base, "reference"), Predictions("x int8", file, "int8")]
    labels = [f"kind {i}" for i in range(count)]
    got = build_record(models, targets, labels, ["i"] * 200, [], {}, {})
    html = str(class_page.per_class(got))
    assert html.count("<tr>") == per_class.MAX_CLASSES + 1
    assert "The 40 of 100 classes" in html
    assert html.index("kind 42<") < html.index("kind 0<") and "-50.0" in html


@pytest.mark.parametrize("span", [(0, 0), (-0.1, 0.5), (-3.7, 12.2), (0, 100), (0.49, 0.5)])
def test_ticks_enclose_the_range(span: tuple[float, float]):
    ticks = nice_ticks(*span)
    assert ticks[0] <= span[0] and ticks[-1] >= span[1] and 2 <= len(ticks) <= 9
    assert ticks == sorted(set(ticks))
