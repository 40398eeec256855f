"""Equalization, bias correction, learned rounding, and the weights that come of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from mobilemod.data.imagefolder import read_folder
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.forms.canonical import Canonical, canonical_form
from mobilemod.forms.form import CANONICAL_WEIGHTS, Form
from mobilemod.forms.mobile_ops import COREML_FORM, XNNPACK_FORM, NamedConv2d
from quantization.calibration import (
    Calibration,
    CalibrationImages,
    calibrate_on,
    load_calibration,
    observe,
    weights_digest,
)
from quantization.params import ParameterTable
from quantization.prepare.bias_correction import measure_corrections
from quantization.prepare.equalization import channel_ranges, choose, equalize
from quantization.prepare.pairs import find_pairs
from quantization.prepare.preparation import Adjustments, adjust, from_table, prepare, sparse
from quantization.prepare.prepared import load_prepared
from quantization.prepare.rounding import RoundingConfig, learn_rounding
from quantization.program import make_table, quantize
from quantization.recipe import load_recipe
from quantization.sensitivity.program import SwitchedProgram

SIZE = 64
PREPROCESS = Preprocess(size=SIZE)
BLOCK = "layers.0.blocks.1.mlp"
F = f"{BLOCK}.context_layer.f"
QUICK = RoundingConfig(images=12, held_out=4, steps=15)


@pytest.fixture(scope="module")
def images(data_dir) -> CalibrationImages:
    return CalibrationImages(read_folder(data_dir / "train").spread(16), PREPROCESS)


def _ranges(canonical: Canonical, images) -> dict[str, torch.Tensor]:
    tensors = [p.tensor for p in find_pairs(canonical.graph)]
    form = canonical.form(XNNPACK_FORM)
    return channel_ranges(form, tensors, images.batches(), images.steps)


def _equalized(canonical: Canonical, images) -> Canonical:
    pairs = find_pairs(canonical.graph)
    return equalize(canonical, choose(pairs, _ranges(canonical, images)))


def _planted(canonical: Canonical, factor: float, channel: int = 3) -> Canonical:
    """An outlier in one channel of a modulation, undone in fc2."""
    state, g = canonical.state(), f"{BLOCK}.context_layer.g"
    for name in (f"{g}.weight", f"{g}.bias"):
        state[name] = state[name].clone()
        state[name][channel] *= factor
    fc2 = state[f"{BLOCK}.fc2.weight"].clone()
    fc2[:, channel :: len(state[f"{g}.bias"])] /= factor
    return canonical.with_state({**state, f"{BLOCK}.fc2.weight": fc2})


@torch.no_grad()
def _run(canonical: Canonical, x: torch.Tensor, options=XNNPACK_FORM) -> torch.Tensor:
    return canonical.form(options)(x)


def test_the_pairs_of_a_network_are_those_told_by_hand(narrow_form, narrow_variant):
    """f, depthwise; g, fc1 without GELU, then through the product fc2; v, proj; q, k."""
    v, expected = narrow_variant, {}
    for s, blocks in enumerate(v.blocks):
        for i in range(blocks):
            mlp, ratio = f"layers.{s}.blocks.{i}.mlp", v.modulation_ratio(i)
            context, own = f"{mlp}.context_layer", range(v.dims[s])
            expected[f"{context}.f"] = (f"{context}.context_list.0", [*own], False, True)
            expected[f"{context}.g"] = (f"{mlp}.fc2", [*own] * ratio, False, False)
            if ratio == 1:
                expected[f"{mlp}.fc1"] = (f"{mlp}.fc2", [*own], False, False)
        for i in range(blocks, blocks + v.attention_blocks[s]):
            attn = f"layers.{s}.blocks.{i}.attn"
            q, k, value = (f"{attn}.qkv.{part}" for part in range(3))
            own = range(256)
            expected[value] = (f"{attn}.proj", [*own], False, False)
            expected[q] = (k, [*own], True, False)
            expected[k] = (q, [*own], True, False)
    found = {}
    for pair in find_pairs(narrow_form.graph):
        (reader,) = pair.readers
        found[pair.module] = (reader.module, [*reader.channels], reader.rows, pair.full)
        assert pair.tensor == f"{pair.module}:out"
    assert found == expected


def test_equalized_network_is_the_same_to_the_last_bit(shallow_form, images):
    planted, x = _planted(shallow_form, 20.0), images.first(2)
    exponents = choose(find_pairs(planted.graph), _ranges(planted, images))
    assert len(exponents) >= 2 and f"{F}:out" in exponents
    equal = equalize(planted, exponents)
    assert torch.equal(_run(equal, x), _run(planted, x))
    assert torch.equal(_run(equal, x, COREML_FORM), _run(planted, x, COREML_FORM))
    before, after = planted.state(), equal.state()
    changed = [k for k in before if not torch.equal(before[k], after[k])]
    assert f"{F}.weight" in changed and f"{F}.bias" in changed


class Chain(nn.Module):
    """Layers of no known network: what passes channels on, and what doesn't."""

    def __init__(self):
        super().__init__()
        self.stem, self.after = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 1)
        self.grouped, self.slope = nn.Conv2d(8, 12, 1, groups=2), nn.LeakyReLU()
        self.last, self.gate = nn.Conv2d(18, 8, 1), nn.Conv2d(8, 8, 1)
        self.depthwise, self.head = nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 5, 1)

    def forward(self, x):
        x = self.stem(x).relu()
        x = torch.cat([self.after(x), self.slope(self.grouped(x))], 1)
        x = self.last(nn.functional.avg_pool2d(x, 2))
        x = self.depthwise(x * self.gate(x).sigmoid())
        return self.head(nn.functional.gelu(x)).mean((2, 3))


def test_pairs_end_where_a_channel_is_not_linear():
    torch.manual_seed(0)
    canonical = canonical_form(Chain().eval(), (3, 16, 16))
    found = {
        p.module: {r.module: r.channels for r in p.readers} for p in find_pairs(canonical.graph)
    }
    eight, none = tuple(range(8)), (-1,)
    assert found == {
        "stem": {"after": eight, "grouped": eight},
        "after": {"last": (*range(6), *none * 12)},
        "grouped": {"last": (*none * 6, *range(12))},
        "last": {"gate": eight, "depthwise": eight},
    }
    assert not any(p.full for p in find_pairs(canonical.graph))
    _check_every_pair(canonical, torch.randn(2, 3, 16, 16))


def _tiny(name: str) -> tuple[nn.Module, int]:
    """A network of transformers with weights of its own start, and its size of images."""
    import transformers as t

    configs = {
        "ViT": t.ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                           intermediate_size=64, image_size=32, patch_size=8),
        "ResNet": t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[2, 2],
                                 layer_type="basic"),
        "MobileViTV2": t.MobileViTV2Config(image_size=64, width_multiplier=0.25),
    }  # fmt: skip
    made = getattr(t, f"{name}ForImageClassification")(configs[name]).eval()
    return Logits(made), getattr(configs[name], "image_size", 32)


class Logits(nn.Module):
    """The logits alone."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(pixel_values=x).logits


@pytest.mark.parametrize(
    "name, count",
    [("ViT", 6), ("ResNet", 4), pytest.param("MobileViTV2", 22, marks=pytest.mark.slow)],
)
def test_pairs_of_foreign_networks_are_exact(name, count):
    torch.manual_seed(0)
    model, size = _tiny(name)
    canonical = canonical_form(model, (3, size, size))
    assert len(list(find_pairs(canonical.graph))) == count
    _check_every_pair(canonical, torch.randn(2, 3, size, size))


def test_every_kind_of_pair_is_exact(shallow_form, images):
    _check_every_pair(shallow_form, images.first(2))
    kinds = {p.tensor.rpartition(".")[2] for p in find_pairs(shallow_form.graph)}
    assert kinds == {"f:out", "g:out", "fc1:out", "0:out", "1:out", "2:out"}


def _check_every_pair(canonical: Canonical, x: torch.Tensor) -> None:
    """With factors of every channel, which `choose` would rarely take, all at once."""
    rng, before = np.random.default_rng(0), _run(canonical, x)
    exponents = {p.tensor: tuple(rng.integers(-3, 4, p.channels).tolist())
                 for p in find_pairs(canonical.graph)}  # fmt: skip
    equal = equalize(canonical, exponents)
    assert torch.equal(_run(equal, x), before)
    now, old = equal.state(), canonical.state()
    for pair in find_pairs(canonical.graph):
        for module in (pair.module, *(r.module for r in pair.readers)):
            assert not torch.equal(now[f"{module}.weight"], old[f"{module}.weight"]), module


def test_equalization_evens_the_ranges(shallow_form, images):
    planted = _planted(shallow_form, 20.0)
    before, after = (_ranges(c, images) for c in (planted, _equalized(planted, images)))
    f, g = f"{F}:out", f"{BLOCK}.context_layer.g:out"
    spread = [r[f].max() / r[f].min() for r in (before, after)]
    assert spread[1] < 2.1 < spread[0]
    assert before[g][3] > 6 * before[g].median() and after[g][3] < 3 * after[g].median()
    others = [c for c in range(len(before[g])) if c != 3]
    assert torch.equal(before[g][others], after[g][others])


def test_equalization_that_does_not_fit_is_refused(shallow_form):
    with pytest.raises(ValueError, match="no pair of layers"):
        equalize(shallow_form, {"head:out": (1,)})
    with pytest.raises(ValueError, match="channels"):
        equalize(shallow_form, {f"{F}:out": (1,)})


def test_bias_correction_takes_the_mean_error_away(shallow_form, images):
    """A weight with an error of its own shifts the outputs; the correction gives the shift back."""
    form = shallow_form.form(XNNPACK_FORM)
    x = images.first(16)
    calibration = Calibration("w", "i", 16, observe(form, [x], 1))
    recipe = dataclasses.replace(load_recipe("cpu"), observer="minmax")
    table = make_table(form, "xnnpack", recipe, calibration)
    program = SwitchedProgram(form, table)
    (switch,) = program.switches[f"{F}:weight"]
    switch.rounded = switch.rounded + 0.05
    found = measure_corrections(program, x)
    seen: dict[str, torch.Tensor] = {}
    (conv,) = (c for c in _convs(form) if c.module == F)
    conv.register_forward_hook(lambda m, args, out: seen.update(inputs=args[0]))
    with torch.no_grad():
        form(x)
    expected = -0.05 * seen["inputs"].mean((0, 2, 3)).sum()
    assert torch.allclose(found[F], expected.expand(len(found[F])), rtol=0.3, atol=5e-3)
    own = {c.module for c in _convs(form) if c.role in CANONICAL_WEIGHTS}
    assert set(found) == own and "head" in own and "norm" not in own


def test_too_few_images_to_learn_rounding_on_is_one_line(shallow_form, images):
    form = shallow_form.form(XNNPACK_FORM)
    table = make_table(form, "xnnpack", load_recipe("cpu"), calibrate_on(form, "w", images))
    count = len(images.first(1000))
    with pytest.raises(UserError, match=f"^{count} calibration images are too few .* {count};"):
        learn_rounding(form, table, images, RoundingConfig(held_out=count))


def weights_alone(table: ParameterTable) -> ParameterTable:
    """The table's weights; no recipe makes them int8 beside float activations."""
    weights = {name: entry for name, entry in table.entries.items() if entry.kind == "weight"}
    return dataclasses.replace(table, entries=weights)


def test_learned_rounding_lowers_the_error_of_blocks(shallow_form, images):
    """Of weights alone: activations round what they round."""
    form = shallow_form.form(XNNPACK_FORM)
    calibration = calibrate_on(form, "w", images)
    table = weights_alone(make_table(form, "xnnpack", load_recipe("cpu"), calibration))
    old = {m.tensor: m.weight.detach().clone() for m in _convs(form)}
    errors = learn_rounding(form, table, images, QUICK)
    assert len(errors) == len(form.layers)
    assert np.median([after / before for before, after in errors.values()]) < 0.95
    again = weights_alone(make_table(form, "xnnpack", load_recipe("cpu"), calibration))
    changed = 0
    for conv in _convs(form):
        if conv.tensor not in table.entries:
            assert torch.equal(conv.weight, old[conv.tensor])
            continue
        scale = np.array(table.entries[conv.tensor].scale)[:, None, None, None]
        assert np.allclose(again.entries[conv.tensor].scale, scale.ravel(), rtol=1e-5)
        moved = (conv.weight.detach().numpy() - old[conv.tensor].numpy()) / scale
        assert np.abs(moved).max() <= 1.0 + 1e-4
        nearest = np.abs(moved) <= 0.5 + 1e-4
        changed += int((~nearest).sum())
    assert changed > 0
    quantized = {m.tensor: m for m in quantize(form, again, True).modules() if hasattr(m, "scales")}
    name = f"{BLOCK}.fc2:weight"
    conv = next(c for c in _convs(form) if c.tensor == name)
    q = quantized[name]
    rounded = q.weight.float() * q.scales[:, None, None, None]
    assert torch.allclose(rounded, conv.weight, rtol=1e-4, atol=1e-7)


def _convs(form: Form) -> list[NamedConv2d]:
    return [m for m in form.modules() if isinstance(m, NamedConv2d)]


@pytest.mark.parametrize("rounding", ["nearest", "learned"])
def test_prepared_weights_are_kept_and_come_again(
    rounding, shallow_form, data_dir, tmp_path, monkeypatch
):
    monkeypatch.setenv("MOBILEMOD_CACHE", str(tmp_path / "a"))
    monkeypatch.setattr("quantization.prepare.preparation.ROUNDING", QUICK)
    recipe = dataclasses.replace(load_recipe("cpu"), calibration_images=16, rounding=rounding)
    folder = read_folder(data_dir / "train")
    first = prepare(shallow_form, recipe, folder, PREPROCESS)
    assert first.reference == weights_digest(shallow_form.state()) != first.calibration.weights
    assert prepare(shallow_form, recipe, folder, PREPROCESS).calibration == first.calibration
    assert len(list((tmp_path / "a" / "prepared").iterdir())) == 1
    monkeypatch.setenv("MOBILEMOD_CACHE", str(tmp_path / "b"))
    second = prepare(shallow_form, recipe, folder, PREPROCESS)
    assert second.calibration == first.calibration
    assert all(torch.equal(first.state[k], second.state[k]) for k in first.state)
    first.save(tmp_path / "out")
    assert load_prepared(tmp_path / "out").calibration == first.calibration
    if rounding == "nearest":
        table = load_calibration(tmp_path / "out" / "calibration.json")
        same = from_table(shallow_form, table, "table")
        assert all(torch.equal(first.state[k], same.state[k]) for k in first.state)
        state = shallow_form.state()
        other = shallow_form.with_state({**state, "head.bias": state["head.bias"] + 1})
        with pytest.raises(UserError, match="of other weights"):
            from_table(other, table, "table")
        wrong = dataclasses.replace(table, adjustments={"bias": {"nowhere": {"0": 1.0}}})
        with pytest.raises(UserError, match="table doesn't fit the checkpoint"):
            from_table(shallow_form, wrong, "table")


def test_damaged_prepared_weights_are_named(shallow_form, data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILEMOD_CACHE", str(tmp_path / "a"))
    recipe = dataclasses.replace(load_recipe("cpu"), calibration_images=4)
    prepared = prepare(shallow_form, recipe, read_folder(data_dir / "train"), PREPROCESS)
    folder = tmp_path / "run"
    prepared.save(folder)
    file = folder / "prepared.safetensors"
    good = file.read_bytes()
    file.write_bytes(good[: len(good) // 2])
    with pytest.raises(UserError, match="prepared.safetensors is damaged"):
        load_prepared(folder)
    file.write_bytes(good[:-4] + b"\1\2\3\4")
    with pytest.raises(UserError, match="different weights"):
        load_prepared(folder)
    file.unlink()
    with pytest.raises(UserError, match="holds no prepared.safetensors"):
        load_prepared(folder)


def test_corrections_reach_every_form(shallow_form):
    """Of a convolution with a bias, one without, and one that runs in parts."""
    depthwise = f"{BLOCK}.context_layer.context_list.0"
    change = {m: torch.zeros(n) for m, n in ((f"{BLOCK}.fc2", 16), (depthwise, 16), ("head", 10))}
    for value in change.values():
        value[2] = 0.5
    state = shallow_form.state()
    plain = shallow_form.with_state({k: v for k, v in state.items() if k != "head.bias"})
    adjusted = adjust(plain, Adjustments(bias=sparse(change)))
    for options in (XNNPACK_FORM, COREML_FORM):
        before = {c.tensor: c.bias for c in _convs(plain.form(options))}
        assert before["head:weight"] is None
        for conv in _convs(adjusted.form(options)):
            if conv.bias is not None:
                old = before[conv.tensor]
                moved = conv.bias.detach() - (0 if old is None else old.detach())
                expected = change.get(conv.module, torch.zeros(len(moved)))
                assert torch.allclose(moved, expected, atol=1e-6), conv.tensor


def test_preparation_helps_against_outliers(shallow_form, images):
    """A channel of the modulation 40 times the others: with equalization int8 doesn't mind."""
    x = images.first(8)
    reference, planted = _run(shallow_form, x).numpy(), _planted(shallow_form, 40.0)
    plain, ours = (
        _quantized(c, images)(x).detach().numpy() for c in (planted, _equalized(planted, images))
    )
    assert sqnr_db(reference, ours) > sqnr_db(reference, plain) + 1


def _quantized(canonical: Canonical, images) -> nn.Module:
    form = canonical.form(XNNPACK_FORM)
    table = make_table(form, "xnnpack", load_recipe("cpu"), calibrate_on(form, "w", images))
    return quantize(form, table, True)
