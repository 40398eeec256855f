"""Mixed precision: what becomes float with a module, the search, its costs, recipe and page."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from export.auditing.audit import audit_graph
from export.auditing.modules import Names, node_modules
from export.graph import CONV, DEPTHWISE
from export.measure.profiling import Profile, UnitTime
from export.measure.search import SearchConfig, _target
from export.measure.search_costs import load_profile, mac_costs, saved_profiles, time_costs
from export.targets.base import FORMS, ModelInfo
from export.targets.target import get_target
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.forms.canonical import Canonical, canonical_form
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.results.search.page import write_page, write_plot
from mobilemod.results.search.table import text_table
from mobilemod.tasks.classification import TASK
from quantization.calibration import Calibration, observe
from quantization.placement import int8_modules
from quantization.program import make_table, quantize
from quantization.recipe import load_recipe, parse_recipe
from quantization.search.flow import Flow, trace_flow
from quantization.search.mixed import Mix, Search
from quantization.search.recipe import mixed_recipe
from quantization.sensitivity.effects import Effect, effect
from quantization.sensitivity.program import SwitchedConv2d, SwitchedProgram, SwitchedTap

SIZE = 64
RECIPES = ("cpu", "cpu-x86", "npu")
CULPRIT = "layers.2.blocks.1.mlp.fc1"
# What a mix is made of: neighbours, pieces of a kernel, attention, a whole block, the ends.
CHOSEN = (
    "layers.0.blocks.0.mlp.context_layer.context_list.0",
    "layers.0.blocks.1.mlp.fc1",
    "layers.0.downsample.proj",
    "layers.1.blocks.0.mlp.context_layer.f",
    "layers.2.blocks.2.attn.qkv",
    "layers.3.blocks.1",
    "head",
)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """float32 (8, 3, 64, 64): smooth, as photographs are."""
    coarse = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(3))
    return F.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic")


def modules(canonical: Canonical) -> set[str]:
    return set(canonical.modules)


def flow_of(canonical: Canonical, form="xnnpack", recipe="cpu") -> Flow:
    built = canonical.form(FORMS[form])
    return trace_flow(built, form, load_recipe(recipe), modules(canonical))


def program_of(canonical: Canonical, images, form="xnnpack", recipe="cpu") -> SwitchedProgram:
    observed = observe(canonical.form(FORMS["xnnpack"]), [images], 1)
    built = canonical.form(FORMS[form])
    rules = load_recipe(recipe)
    return SwitchedProgram(
        built, make_table(built, form, rules, Calibration("w", "i", 8, observed))
    )


@pytest.mark.parametrize("form", list(FORMS))
def test_convolutions_that_clamp_their_results_are_int8(form):
    layers = (torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU6(), torch.nn.Conv2d(8, 8, 3, groups=8))
    head = (torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 1), torch.nn.Flatten())
    network = torch.nn.Sequential(*layers, *head).eval()
    flow = flow_of(canonical_form(network, (3, 16, 16)), form)
    assert flow.int8_share(()) == 1.0
    behind = {"2:weight", "2:relu", "4:weight", "4:out"}
    assert flow.selection(("2",)) == flow.int8 - behind


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("form", list(FORMS))
def test_nothing_is_half_quantized_whatever_is_left_float(narrow_form, images, form, recipe):
    """Watched while the program runs: each convolution's weight, input and output go together."""
    flow = flow_of(narrow_form, form, recipe)
    assert flow.selection(()) == flow.int8
    program = program_of(narrow_form, images, form, recipe)
    assert set(program.switches) == flow.int8
    written: dict[int, SwitchedConv2d] = {}
    alive, wrong, seen = [], [], set()

    def convolved(conv, args, out):
        alive.append(out)
        written[id(out)] = conv
        seen.add(conv.tensor)
        if conv.on and not hasattr(args[0], "int8_scale"):
            wrong.append(f"{conv.tensor} is int8, its input is not")

    def tapped(tap, args):
        conv = written.get(id(args[0]))
        if conv is not None and conv.on != tap.on:
            wrong.append(f"{conv.tensor} is {conv.on}, {tap.tensor} is {tap.on}")

    for module in program.form.modules():
        if isinstance(module, SwitchedConv2d):
            module.register_forward_hook(convolved)
        elif isinstance(module, SwitchedTap):
            module.register_forward_pre_hook(tapped)
    names = flow.candidates(modules(narrow_form))
    rng = np.random.default_rng(1)
    mixes = [[name] for name in names[::4]] + [list(rng.choice(names, 9)) for _ in range(12)]
    with torch.inference_mode():
        for mix in [[], *mixes]:
            selection = flow.selection(mix)
            assert selection <= flow.int8 and (selection < flow.int8) == bool(mix)
            program.select(selection)
            program.run(0, images[:1])
            assert not wrong, mix
            for name in mix:
                own = {t for t in flow.int8 if t.startswith((f"{name}:", f"{name}."))}
                assert not {t for t in own & selection if t.endswith(":weight")}, name
    assert seen == {t for t in flow.int8 if t.endswith(":weight")}


def test_shared_values_stay_int8_until_the_last_reader_is_float(narrow_form):
    flow = flow_of(narrow_form)
    mlp = "layers.0.blocks.0.mlp"
    fc1, f = f"{mlp}.fc1", f"{mlp}.context_layer.f"
    shared = "layers.0.blocks.0.norm:out"
    lost = flow.int8 - flow.selection([fc1])
    assert lost == {f"{fc1}:weight", f"{fc1}:out"}
    assert shared in flow.selection([f]) and shared not in flow.selection([fc1, f])
    # Its result is read by a convolution, which so is float as well, up to the next GELU.
    both = flow.int8 - flow.selection([f])
    assert {t for t in both if t.endswith(":weight")} == {
        f"{f}:weight",
        *(f"{mlp}.context_layer.context_list.0.part{i}:weight" for i in range(3)),
    }
    assert f"{mlp}.context_layer.context_list.0:gelu" in flow.selection([f])


def test_candidates_are_modules_within_a_layer_each_with_an_effect_of_its_own(narrow_form):
    flow = flow_of(narrow_form, recipe="npu")
    names = flow.candidates(modules(narrow_form))
    assert len({flow.selection([n]) for n in names}) == len(names) > 80
    assert {"head", "norm", "layers.3.blocks.2.attn", "layers.1.blocks.0"} <= set(names)
    assert not {"layers", "layers.0", "layers.0.blocks"} & set(names)


def test_share_is_of_multiply_accumulates(narrow_form):
    flow = flow_of(narrow_form)
    form = narrow_form.form(FORMS["xnnpack"])
    macs = {}

    def count(conv, args, out):
        macs[conv.tensor] = out[0].numel() * conv.weight[0].numel()

    for module in form.modules():
        if isinstance(module, NamedConv2d) and module.role != "norm.weight":
            module.register_forward_hook(count)
    with torch.inference_mode():
        form(torch.zeros(1, 3, SIZE, SIZE))
    int8 = sum(n for t, n in macs.items() if t in flow.selection(CHOSEN))
    assert flow.int8_share(CHOSEN) == pytest.approx(int8 / sum(macs.values()), abs=1e-12)
    costs = mac_costs(flow)
    assert costs.total(CHOSEN) == pytest.approx((sum(macs.values()) - int8) / 1e6)


# -- the search


class Landscape:
    """Effects that are known: what each weight costs in int8, in divergence; counts what is run."""

    def __init__(self, flow: Flow, seed: int, synergy: float = 0.0):
        self.flow, self.runs, self.quick = flow, 0, 0
        rng = np.random.default_rng(seed)
        weights = sorted(t for t in flow.int8 if t.endswith(":weight"))
        self.harm = dict(zip(weights, rng.exponential(1.0, len(weights)), strict=True))
        self.cost_of = dict(zip(weights, rng.uniform(0.2, 2.0, len(weights)), strict=True))
        self.synergy = synergy

    def measure(self, selections, quick):
        self.runs += len(selections)
        self.quick += quick
        return [self.effect(s) for s in selections]

    def effect(self, selection) -> Effect:
        # Concave: what a module gains shrinks as others are float.
        kl = math.sqrt(sum(self.harm.get(t, 0.0) for t in selection))
        return Effect(20.0 - kl, 0.0, kl, 100.0)

    def cost(self, chosen) -> float:
        lost = self.flow.int8 - self.flow.selection(chosen)
        return sum(self.cost_of.get(t, 0.0) for t in lost)

    def search(self, names) -> Search:
        return Search(self.flow, names, self.cost, 0.01, self.measure)


def test_greedy_takes_the_best_gain_for_its_cost_each_time(narrow_form):
    flow = flow_of(narrow_form)
    names = flow.candidates(modules(narrow_form))
    land = Landscape(flow, 3)
    search = land.search(names)
    mix = search.start()
    assert mix == Mix((), 0.0, land.effect(flow.int8))
    for _ in range(6):
        new = search.add(mix)

        def worth(name, mix=mix):
            chosen = [*mix.modules, name]
            cost = land.cost(chosen) - mix.cost
            won = mix.kl - land.effect(flow.selection(chosen)).kl
            return won / cost if cost else -math.inf

        assert worth(new.added) == pytest.approx(max(map(worth, names)))
        assert new.kl < mix.kl and new.modules[-1] == new.added
        assert new.cost == pytest.approx(land.cost(new.modules))
        mix = new
    assert land.quick == 1
    assert land.runs < 1 + (len(names) + 1) + 6 * len(names) / 2


def test_a_module_inside_a_chosen_one_is_not_named_twice(narrow_form):
    flow = flow_of(narrow_form)
    land = Landscape(flow, 0)
    block = "layers.1.blocks.0"
    search = land.search([f"{block}.mlp.fc1", f"{block}.mlp"])
    first = search.add(search.start())
    second = search.add(first)
    last = first if second is None else second
    assert last.modules == (f"{block}.mlp",) and search.add(last) is None


def test_what_wins_nothing_is_not_taken(narrow_form):
    flow = flow_of(narrow_form)
    land = Landscape(flow, 0)
    land.harm = dict.fromkeys(land.harm, 0.0)
    search = land.search(flow.candidates(modules(narrow_form)))
    assert search.add(search.start()) is None


def test_logits_that_are_not_finite_are_left_first(narrow_form):
    flow = flow_of(narrow_form)
    land = Landscape(flow, 0)

    def measure(selections, quick):
        broken = Effect(math.nan, math.nan, math.nan, 0.0)
        return [broken if "head:weight" in s else land.effect(s) for s in selections]

    search = Search(flow, flow.candidates(modules(narrow_form)), land.cost, 0.01, measure)
    mix = search.add(search.start())
    assert mix.added == "head" and math.isfinite(mix.kl)


def test_pruning_gives_back_what_is_not_needed(narrow_form):
    flow = flow_of(narrow_form)
    land = Landscape(flow, 5)
    needed, needless = "layers.0.blocks.1.mlp.fc1", "layers.3.blocks.1.mlp.fc1"
    land.harm[f"{needless}:weight"] = 0.0
    search = land.search([needed, needless])
    mix = Mix((needless, needed), land.cost([needless, needed]),
              land.effect(flow.selection([needless, needed])))  # fmt: skip
    pruned = search.prune(mix)
    assert pruned.modules == (needed,) and pruned.cost < mix.cost
    shares = search.shares(pruned)
    before = land.effect(flow.int8)
    assert shares[needed].gain_db == pytest.approx(pruned.effect.sqnr_db - before.sqnr_db)
    assert shares[needed].cost == pytest.approx(pruned.cost)


def test_a_blown_up_channel_is_left_float_first(narrow_form, images):
    """One channel 300 times larger, which the next layer undoes: its range ruins all others."""
    mlp = CULPRIT.rpartition(".")[0]
    state = {k: v.clone() for k, v in narrow_form.state().items()}
    state[f"{CULPRIT}.weight"][3] *= 300
    state[f"{CULPRIT}.bias"][3] *= 300
    state[f"{mlp}.fc2.weight"][:, 3] /= 300
    blown = narrow_form.with_state(state)
    flow, form = flow_of(narrow_form), blown.form(FORMS["xnnpack"])
    rules = dataclasses.replace(load_recipe("cpu"), observer="minmax")
    observed = Calibration("w", "i", 8, observe(form, [images], 1))
    program = SwitchedProgram(form, make_table(form, "xnnpack", rules, observed))
    with torch.inference_mode():
        reference = form(images).numpy()

    @torch.inference_mode()
    def measure(selections, quick):
        found = []
        for selection in selections:
            program.select(selection)
            logits = program.run(0, images).numpy()
            found.append(effect(reference, logits, reference.argmax(1), TASK))
        return found

    names = [n for n in flow.candidates(modules(blown)) if n.startswith("layers.2")]
    costs = mac_costs(flow)
    search = Search(flow, names, costs.total, costs.least, measure)
    start = search.start()
    first = search.add(start)
    assert first.added == CULPRIT
    # The product that its result goes into holds the channel too.
    second = search.add(first)
    assert second.modules == (mlp,)
    assert second.effect.sqnr_db > start.effect.sqnr_db + 6


# -- the recipe


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_says_what_the_mix_is_in_every_form(narrow_form, recipe):
    base = load_recipe(recipe)
    flows = [flow_of(narrow_form, form, recipe) for form in FORMS]
    names = flows[0].candidates(modules(narrow_form))
    rng = np.random.default_rng(4)
    mixes = [CHOSEN, *(tuple(dict.fromkeys(rng.choice(names, 6))) for _ in range(10)), tuple(names)]
    for mix in mixes:
        made = mixed_recipe(base, flows, {m: f"why {m}" for m in mix}, "about")
        again = parse_recipe(json.loads(json.dumps(made.to_dict())), "test")
        assert again == made and again.name == f"{recipe}-mixed"
        for flow in flows:
            form = narrow_form.form(FORMS[flow.form])
            held = {m.tensor for m in int8_modules(form, flow.form, again)}
            assert held == flow.selection(mix)
            assert flow.int8_share(mix) >= again.min_int8_share
        assert min(f.int8_share(mix) for f in flows) - again.min_int8_share < 0.001
        count = len(base.rules)
        assert again.rules[:count] == base.rules
        assert [r.reason for r in again.rules[count : count + len(mix)]] == [
            f"why {m}" for m in mix
        ]
        assert all(r.reason for r in again.rules[count:])
        kept = {f.name for f in dataclasses.fields(base)}
        for name in kept - {"name", "rules", "min_int8_share", "description"}:
            assert getattr(again, name) == getattr(base, name)


def test_rules_are_few_and_readable(narrow_form):
    flows = [flow_of(narrow_form, form) for form in FORMS]
    base = load_recipe("cpu")
    made = mixed_recipe(base, flows, {"layers.0.blocks.1.mlp.fc1": "a"}, "")
    rules = [(r.tensors, r.dtype, r.forms) for r in made.rules[len(base.rules) :]]
    assert rules == [
        ("layers.0.blocks.1.mlp.fc1:*", "float", ()),
        ("layers.0.blocks.1.mlp.fc1:gelu", "int8", ()),
    ]
    attention = mixed_recipe(base, flows, {"layers.2.blocks.2.attn.qkv": "a"}, "")
    rules = [(r.tensors, r.dtype, r.forms) for r in attention.rules[len(base.rules) :]]
    assert rules == [
        ("layers.2.blocks.2.attn.qkv.*", "float", ()),
        ("layers.2.blocks.2.norm1:out", "float", ()),
    ]


def test_the_target_that_is_searched_first():
    def chosen(*targets: str, asked: str | None = None) -> str:
        files = [SimpleNamespace(target=t) for t in targets]
        bundle = SimpleNamespace(folder="b", manifest=SimpleNamespace(files=files))
        return _target(bundle, SearchConfig(Path("b"), Path("d"), target=asked))

    assert chosen("executorch", "coreml", "tflite") == "tflite"
    assert chosen("coreml", "executorch") == "executorch"
    assert chosen("tflite", "executorch", asked="executorch") == "executorch"
    with pytest.raises(UserError, match="b holds no file of any target; it has none"):
        chosen()


BACKENDS = {name: get_target(name) for name in ("tflite", "executorch", "coreml")}
MARKS = {
    ("tflite", "cpu"): pytest.mark.slow,
    ("executorch", "cpu"): pytest.mark.slow,
    ("coreml", "npu"): pytest.mark.slow,
}
LONG = (pytest.mark.slow, pytest.mark.long)


@pytest.mark.parametrize(
    "target,recipe",
    [pytest.param(t, r, marks=MARKS.get((t, r), LONG)) for t in BACKENDS for r in ("cpu", "npu")],
)
def test_file_has_exactly_these_modules_float(narrow_form, images, tmp_path, target, recipe):
    """The lowered file's own graph, by share of MACs and, where named, by module."""
    backend = BACKENDS[target]
    flows = {form: flow_of(narrow_form, form, recipe) for form in FORMS}
    mixed = mixed_recipe(load_recipe(recipe), list(flows.values()), dict.fromkeys(CHOSEN, "a"), "")
    facts = backend.facts
    form = narrow_form.form(FORMS[facts.form])
    observed = observe(narrow_form.form(FORMS["xnnpack"]), [images], 1)
    table = make_table(form, facts.form, mixed, Calibration("w", "i", 8, observed))
    program = quantize(form, table, backend.facts.fold)
    path = tmp_path / f"mixed{facts.suffix}"
    info = ModelInfo("narrow", tuple(f"class {i}" for i in range(10)), Preprocess(size=SIZE))
    backend.lower(program, info, path, int8=True)
    graph = backend.read_graph(path)
    audit = audit_graph(graph, path, Names([table]))
    flow = flows[facts.form]
    assert audit.int8_share == pytest.approx(flow.int8_share(CHOSEN), abs=1e-9)
    assert audit.int8_share >= mixed.min_int8_share
    if recipe == "cpu" and target != "coreml":
        assert audit.partitions == 1 and not audit.outside
    if target == "tflite":
        named = node_modules(graph, Names([table]))
        floats = [
            n
            for n in graph.nodes
            if n.op in (CONV, DEPTHWISE) and graph.tensors[n.inputs[1]].dtype != "int8"
        ]
        # The averages of norms bear no name: they are counted.
        weights = {t for t in flow.names if t.endswith(":weight")}
        averages = {t for t in weights if t.endswith((".mean:weight", ".variance:weight"))}
        expected = weights - flow.selection(CHOSEN)
        assert {f"{named[n]}:weight" for n in floats} & (weights - averages) == expected - averages
        assert len(floats) == len(expected)
    # It computes what the search measured.
    run = backend.load(path).run
    with torch.inference_mode():
        expected = torch.cat([program(x[None]) for x in images[:3]]).numpy()
    got = np.stack([run(x[None].numpy()) for x in images[:3]])
    if target != "coreml":  # which takes whole pixel values
        assert np.corrcoef(expected.ravel(), got.ravel())[0, 1] > 0.995


# -- costs


def profile(name: str, units: list[tuple], threads: int = 1) -> Profile:
    made = tuple(UnitTime(op, module, dtype, (1, 10, 10, 10), macs, ms)
                 for op, module, dtype, macs, ms in units)  # fmt: skip
    return Profile(name, "tflite", threads, 9.0, 1.0, made)


def layer_profiles(fc1: float, head: float) -> tuple[Profile, Profile]:
    block = "layers.0.blocks.1"
    int8 = profile("a_int8.tflite", [
        ("conv", f"{block}.mlp.fc1", "int8", 10, 1.0),
        ("conv", "head", "int8", 10, 0.5),
        ("mul", f"{block}.mlp", "int8", 0, 0.1),
        ("quantize", f"{block}.norm", "int8", 0, 0.02),
        ("dequantize", "head", "float32", 0, 0.02),
    ])  # fmt: skip
    floats = profile("a_float32.tflite", [
        ("conv", f"{block}.mlp.fc1", "float32", 10, fc1),
        ("conv", "head", "float32", 10, head),
        ("mul", block, "float32", 0, 0.4),
    ])  # fmt: skip
    return int8, floats


def test_cost_is_float_less_int8_and_what_is_quantized_more(narrow_form):
    flow = flow_of(narrow_form)
    costs = time_costs(flow, *layer_profiles(fc1=1.75, head=0.2))
    assert costs.unit == "ms" and costs.total(()) == pytest.approx(1.64)
    fc1 = "layers.0.blocks.1.mlp.fc1"
    per_value = 0.04 / 2000
    moved = flow.boundary([fc1]) - flow.boundary(())
    values = {op.writes: op.values for op in flow.ops}
    # Its input is dequantized now, and its result quantized behind the GELU.
    assert moved == values["layers.0.blocks.1.norm:out"] + values[f"{fc1}:gelu"]
    other = costs.total([fc1]) - costs.base - 0.75 - moved * per_value
    # The rest of the layer costs 0.3 ms more in float; the GELU is a part of it.
    assert 0 < other < 0.3
    # Faster in float: free, but for what is quantized less.
    saved = (flow.boundary(["head"]) - flow.boundary(())) * per_value
    assert saved < 0 and costs.total(["head"]) == pytest.approx(costs.base + saved)


def test_profiles_of_another_network_are_refused(narrow_form):
    flow = flow_of(narrow_form)
    strange = profile("b.tflite", [("conv", "", "int8", 10, 1.0)])
    with pytest.raises(UserError, match="names no module"):
        time_costs(flow, strange, strange)


def test_saved_profiles_come_back_and_wrong_ones_are_named(tmp_path):
    int8, floats = layer_profiles(1.0, 1.0)
    paths = tmp_path / "int8.json", tmp_path / "float.json"
    for path, made in zip(paths, (int8, floats), strict=True):
        path.write_text(json.dumps(made.to_dict()), "utf-8")
    assert saved_profiles("tflite", *paths) == (int8, floats)
    with pytest.raises(UserError, match="not of an int8 file"):
        saved_profiles("tflite", *reversed(paths))
    with pytest.raises(UserError, match="is of tflite, the search is for executorch"):
        saved_profiles("executorch", *paths)
    two = dataclasses.replace(floats, threads=2)
    paths[1].write_text(json.dumps(two.to_dict()), "utf-8")
    with pytest.raises(UserError, match="different numbers of threads"):
        saved_profiles("tflite", *paths)
    for text in ("{", "[]", '{"schema": "x"}', '{"schema": "mobilemod/profile/1"}'):
        paths[0].write_text(text, "utf-8")
        with pytest.raises(UserError, match="is no profile"):
            load_profile(paths[0])
    with pytest.raises(UserError, match="is no profile"):
        load_profile(tmp_path / "nowhere.json")


# -- table and page

DROP = {"points": 0.5, "low": 0.1, "high": 0.9, "mcnemar_p": 0.03, "lost": 7, "won": 2}


def step(added: str, cost: float, kl: float | None, drop: dict | None, **more) -> dict:
    return {
        "added": added, "removed": [], "modules": [added] if added else [], "cost": cost,
        "kl": kl, "sqnr_db": 25.0, "identical": False, "gain_db": 1.5,
        "top1_agreement_percent": 99.0, "int8_share": 0.97, "drop": drop, **more,
    }  # fmt: skip


@pytest.fixture
def record() -> dict:
    steps = [
        step("", 5.0, 0.01, DROP),
        step("layers.0.blocks.0", 5.5, 0.004, None),
        step("head", 5.6, 0.002, {**DROP, "points": 0.2}),
        step("", 5.1, 0.002, {**DROP, "points": 0.2}, removed=["layers.0.blocks.0"],
             modules=["head"]),
    ]  # fmt: skip
    return {
        "schema": "mobilemod/search/1", "model": "narrow", "weights": "w", "form": "xnnpack",
        "target": "tflite", "recipe": "cpu", "max_drop": 0.3, "met": True, "unit": "ms",
        "profiles": [{"file": "a_int8.tflite", "threads": 1, "whole_ms": 6.0, "sum_ms": 5.0}],
        "images": 256, "check_images": 1000, "damaged": [], "candidates": 75, "steps": steps,
        "float": [{"module": "head", "gain_db": 1.5, "cost": 0.1}], "file": "cpu-mixed.json",
    }  # fmt: skip


def test_table_has_a_line_a_step_and_says_whether_it_is_met(record):
    text = text_table(record)
    rows = [line for line in text.splitlines() if re.match(r"^ *\d+  ", line)]
    assert len(rows) == 4 and "+ layers.0.blocks.0 " in rows[1] and "− layers.0" in rows[3]
    assert "met with 1 module float, 0.100 ms more: drop 0.20 points" in text
    assert "3 of these mixes checked on 1,000 validation images" in text
    assert "+1.50 dB for 0.100 ms  head" in text
    why = {"met": False, "state": "undecided", "reason": "near chance", "file": None}
    assert "undecided: drop 0.20 points" in text_table({**record, **why})
    assert "not met" in text_table({**record, "met": False, "float": [], "file": None})
    alone = {**record, "steps": record["steps"][:1], "float": []}
    assert "met by recipe cpu as it is" in text_table(alone)


def test_page_and_plot_need_nothing_and_escape(record, tmp_path):
    hostile = '<script>alert("x")</script>&\'"'
    record["model"] = record["steps"][1]["added"] = record["float"][0]["module"] = hostile
    page = tmp_path / "page.html"
    write_page(record, page)
    markup = page.read_text("utf-8")
    assert "<script" not in markup and not re.search(r"(?:src|href)=|url\(|https?://", markup)
    assert markup.count("<circle") == 4 + 3
    write_plot(record, page.with_suffix(".svg"))
    plot = ElementTree.parse(page.with_suffix(".svg")).getroot()
    assert plot.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(list(plot.iter("{http://www.w3.org/2000/svg}circle"))) == 7
    assert any(hostile in (t.text or "") for t in plot.iter("{http://www.w3.org/2000/svg}title"))


def test_page_of_one_step_and_of_no_finite_divergence(record, tmp_path):
    record["steps"] = [step("", 5.0, None, {**DROP, "points": 0.0, "low": 0.0, "high": 0.0})]
    write_page(record, tmp_path / "page.html")
    write_plot(record, tmp_path / "page.svg")
    ElementTree.parse(tmp_path / "page.svg")
    assert "n/a" in text_table(record)
    record["steps"][0]["kl"] = 0.0
    write_plot(record, tmp_path / "page.svg")
    ElementTree.parse(tmp_path / "page.svg")


def test_every_key_is_in_the_documentation(record):
    text = (Path(__file__).parents[2] / "docs" / "schemas.md").read_text("utf-8")
    row = next(line for line in text.splitlines() if "`mobilemod/search/1`" in line)
    parts = (record, record["steps"][0], record["profiles"][0], record["float"][0], DROP)
    for key in {key for part in parts for key in part} - {"schema"}:
        assert f"`{key}`" in row, key
