"""Equalization, bias correction, learned rounding, and the weights that come of them."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from mobilemod.data.imagefolder import read_folder
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.forms.mobile import build_mobile
from mobilemod.forms.mobile_ops import XNNPACK_FORM, NamedConv2d
from quantization.calibration import (
    Calibration,
    CalibrationImages,
    calibrate_on,
    load_calibration,
    observe,
    weights_digest,
)
from quantization.prepare.bias_correction import measure_corrections
from quantization.prepare.equalization import channel_ranges, choose, equalize, pairs
from quantization.prepare.preparation import (
    Adjustments,
    adjust,
    from_table,
    prepare,
    published_corrections,
)
from quantization.prepare.prepared import load_prepared
from quantization.prepare.rounding import RoundingConfig, learn_rounding
from quantization.program import make_table, quantize
from quantization.recipe import Rule, load_recipe
from quantization.sensitivity.program import SwitchedProgram

SIZE = 64
PREPROCESS = Preprocess(size=SIZE)
BLOCK = "layers.0.blocks.1.mlp"
QUICK = RoundingConfig(images=12, held_out=4, steps=15)


@pytest.fixture(scope="module")
def images(data_dir) -> CalibrationImages:
    return CalibrationImages(read_folder(data_dir / "train").spread(16), PREPROCESS)


@pytest.fixture
def model(shallow_model):
    """A copy that a test may change."""
    return copy.deepcopy(shallow_model)


def _ranges(model, images) -> dict[str, torch.Tensor]:
    tensors = [p.tensor for p in pairs(model)]
    form = build_mobile(model, XNNPACK_FORM)
    return channel_ranges(form, tensors, images.batches(), images.steps)


@torch.no_grad()
def _plant(model, module: str, channel: int, factor: float) -> None:
    """An outlier in one channel of the modulation, undone in fc2."""
    mlp = model.get_submodule(module)
    mlp.context_layer.g.weight[channel] *= factor
    mlp.context_layer.g.bias[channel] *= factor
    dim = mlp.context_layer.g.out_features
    mlp.fc2.weight[:, channel::dim] /= factor


@torch.no_grad()
def test_equalized_network_is_the_same_to_the_last_bit(model, images):
    _plant(model, BLOCK, 3, 20.0)
    x = images.first(2)
    before = model(x)
    exponents = choose(model, _ranges(model, images))
    assert len(exponents) >= 2 and any(t.endswith(".f:out") for t in exponents)
    equalize(model, exponents)
    assert torch.equal(model(x), before)


@torch.no_grad()
def test_every_kind_of_pair_is_exact(model, images):
    """With factors of every channel, which `choose` would rarely take."""
    x = images.first(2)
    before = model(x)
    rng = np.random.default_rng(0)
    ranges = _ranges(model, images)
    for pair in pairs(model):
        exponents = tuple(int(e) for e in rng.integers(-3, 4, len(ranges[pair.tensor])))
        weights = [p.clone() for p in model.parameters()]
        equalize(model, {pair.tensor: exponents})
        assert any(not torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
        assert torch.allclose(model(x), before, rtol=1e-5, atol=1e-6), pair.tensor
    kinds = {p.tensor.rpartition(".")[2] for p in pairs(model)}
    assert kinds == {"f:out", "g:out", "fc1:out", "q:out", "k:out", "v:out"}


def test_equalization_evens_the_ranges(model, images):
    _plant(model, BLOCK, 3, 20.0)
    before = _ranges(model, images)
    equalize(model, choose(model, before))
    after = _ranges(model, images)
    f, g = f"{BLOCK}.context_layer.f:out", f"{BLOCK}.context_layer.g:out"
    spread = [r[f].max() / r[f].min() for r in (before, after)]
    assert spread[1] < 2.1 < spread[0]
    assert before[g][3] > 6 * before[g].median() and after[g][3] < 3 * after[g].median()
    others = [c for c in range(len(before[g])) if c != 3]
    assert torch.equal(before[g][others], after[g][others])


def test_equalization_that_does_not_fit_is_refused(model):
    with pytest.raises(ValueError, match="no pair of layers"):
        equalize(model, {"head:out": (1,)})
    with pytest.raises(ValueError, match="channels"):
        equalize(model, {f"{BLOCK}.context_layer.f:out": (1,)})


def test_bias_correction_takes_the_mean_error_away(model, images):
    """A weight with an error of its own shifts the outputs; the correction gives the shift back."""
    form = build_mobile(model, XNNPACK_FORM)
    x = images.first(16)
    calibration = Calibration("w", "i", 16, observe(form, [x], 1))
    recipe = dataclasses.replace(load_recipe("cpu"), observer="minmax")
    table = make_table(form, "xnnpack", recipe, calibration)
    program = SwitchedProgram(form, table)
    tensor = f"{BLOCK}.context_layer.f:weight"
    (switch,) = program.switches[tensor]
    switch.rounded = switch.rounded + 0.05
    found = measure_corrections(program, x)
    module = tensor.removesuffix(":weight")
    seen: dict[str, torch.Tensor] = {}
    form.get_submodule("layers.2.f").register_forward_hook(
        lambda m, args, out: seen.update(inputs=args[0])
    )
    with torch.no_grad():
        form(x)
    expected = -0.05 * seen["inputs"].mean((0, 2, 3)).sum()
    assert form.get_submodule("layers.2.f").module == module
    assert torch.allclose(found[tensor], expected.expand(len(found[tensor])), rtol=0.3, atol=5e-3)
    assert not any(".qkv." in name for name in found) and "head:weight" in found


def test_too_few_images_to_learn_rounding_on_is_one_line(model, images):
    form = build_mobile(model, XNNPACK_FORM)
    table = make_table(form, "xnnpack", load_recipe("cpu"), calibrate_on(form, "w", images))
    count = len(images.first(1000))
    with pytest.raises(UserError, match=f"^{count} calibration images are too few .* {count};"):
        learn_rounding(form, table, images, RoundingConfig(held_out=count))


def test_learned_rounding_lowers_the_error_of_blocks(model, images):
    """Of weights alone: activations round what they round."""
    form = build_mobile(model, XNNPACK_FORM)
    calibration = calibrate_on(form, "w", images)
    weights = dataclasses.replace(load_recipe("cpu"), rules=(Rule("*:weight", "int8"),))
    table = make_table(form, "xnnpack", weights, calibration)
    old = {m.tensor: m.weight.detach().clone() for m in _convs(form)}
    errors = learn_rounding(form, table, images, QUICK)
    assert len(errors) == len(form.layers)
    assert np.median([after / before for before, after in errors.values()]) < 0.95
    again = make_table(form, "xnnpack", weights, calibration)
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


def _convs(form) -> list[NamedConv2d]:
    return [m for m in form.modules() if isinstance(m, NamedConv2d)]


@pytest.mark.parametrize("rounding", ["nearest", "learned"])
def test_prepared_weights_are_kept_and_come_again(rounding, model, data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILEMOD_CACHE", str(tmp_path / "a"))
    monkeypatch.setattr("quantization.prepare.preparation.ROUNDING", QUICK)
    recipe = dataclasses.replace(load_recipe("cpu"), calibration_images=16, rounding=rounding)
    folder = read_folder(data_dir / "train")
    first = prepare(model, recipe, folder, PREPROCESS)
    assert first.reference == weights_digest(model.state_dict()) != first.calibration.weights
    assert prepare(model, recipe, folder, PREPROCESS).calibration == first.calibration
    assert len(list((tmp_path / "a" / "prepared").iterdir())) == 1
    monkeypatch.setenv("MOBILEMOD_CACHE", str(tmp_path / "b"))
    second = prepare(model, recipe, folder, PREPROCESS)
    assert second.calibration == first.calibration
    assert all(torch.equal(first.state[k], second.state[k]) for k in first.state)
    first.save(tmp_path / "out")
    assert load_prepared(tmp_path / "out").calibration == first.calibration
    if rounding == "nearest":
        table = load_calibration(tmp_path / "out" / "calibration.json")
        same = from_table(model, table, "table")
        assert all(torch.equal(first.state[k], same.state[k]) for k in first.state)
        with torch.no_grad():
            model.head.bias += 1
        with pytest.raises(UserError, match="of other weights"):
            from_table(model, table, "table")


def test_damaged_prepared_weights_are_named(model, data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILEMOD_CACHE", str(tmp_path / "a"))
    recipe = dataclasses.replace(load_recipe("cpu"), calibration_images=4)
    prepared = prepare(model, recipe, read_folder(data_dir / "train"), PREPROCESS)
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


def test_corrections_reach_the_mobile_form(model):
    """Of a convolution whose published bias is scaled (fc2), split in parts, or as it is."""
    form = build_mobile(model, XNNPACK_FORM)
    tensors = [f"{BLOCK}.fc2:weight", f"{BLOCK}.context_layer.context_list.0.part0:weight",
               f"{BLOCK}.fc1:weight", "head:weight"]  # fmt: skip
    before = {c.tensor: c for c in _convs(form)}
    change = {t: torch.zeros(before[t].out_channels) for t in tensors}
    for value in change.values():
        value[2] = 0.5
    adjust(model, Adjustments(bias=published_corrections(model, change)))
    for conv in _convs(build_mobile(model, XNNPACK_FORM)):
        if conv.bias is not None:
            moved = conv.bias.detach() - before[conv.tensor].bias.detach()
            expected = change.get(conv.tensor, torch.zeros(len(moved)))
            assert torch.allclose(moved, expected, atol=1e-6), conv.tensor


def test_preparation_helps_against_outliers(model, images):
    """A channel of the modulation 40 times the others: with equalization int8 doesn't mind."""
    reference = _logits(model, images)
    _plant(model, BLOCK, 3, 40.0)
    plain = _quantized_logits(model, images)
    equalize(model, choose(model, _ranges(model, images)))
    ours = _quantized_logits(model, images)
    assert sqnr_db(reference, ours) > sqnr_db(reference, plain) + 1


@torch.no_grad()
def _logits(model, images) -> np.ndarray:
    return model(images.first(8)).numpy()


@torch.no_grad()
def _quantized_logits(model, images) -> np.ndarray:
    form = build_mobile(model, XNNPACK_FORM)
    table = make_table(form, "xnnpack", load_recipe("cpu"), calibrate_on(form, "w", images))
    return quantize(form, table, True)(images.first(8)).numpy()
