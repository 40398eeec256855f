"""Near-constant, tiny, huge and dead tensors: ranges, parameters, and whole programs of them."""

from __future__ import annotations

import copy
import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from export.bundle import ExportConfig, export_bundle
from export.targets.base import FORMS, ModelInfo
from export.targets.coreml.check import check
from export.targets.target import get_target
from mobilemod.data.classes import ClassNames
from mobilemod.data.dataset import DataSet
from mobilemod.data.preprocess import Preprocess
from mobilemod.data.testcard import draw_card
from mobilemod.errors import UserError
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.forms.canonical import Canonical, canonical_form
from mobilemod.manifest import FILE_NAME, load_bundle
from mobilemod.networks.checkpoints import save_checkpoint
from mobilemod.networks.efficientmod import EfficientMod, Variant
from mobilemod.networks.registry import get_variant
from mobilemod.networks.synthetic import trained_like_state
from mobilemod.results.validation.history import FILE as HISTORY
from quantization.calibration import Calibration, load_calibration, observe, refuse_overflow
from quantization.observers import OBSERVERS, ranges
from quantization.params import ACTIVATION_MAX, ACTIVATION_MIN, MIN_SCALE, activation_params
from quantization.prepare.equalization import choose
from quantization.prepare.pairs import find_pairs
from quantization.program import make_table, quantize
from quantization.qat.network import QatProgram
from quantization.recipe import load_recipe
from quantization.sensitivity.program import SwitchedProgram, code_counts

coreml, executorch, tflite = map(get_target, ("coreml", "executorch", "tflite"))
BINS = 2048
SIZE = 64
NEAR_CONSTANT = [
    (0.99996, 0.99997),
    (-0.99997, -0.99996),
    (1.0, float(np.nextafter(np.float32(1), np.float32(2)))),
    (0.0, 1e-45),
    (-1e-45, 1e-45),
    (1e-30, 1.000001e-30),
    (1e30, 1.000001e30),
    (-3.4e38, 3.4e38),
]


def error_in_steps(params, values: np.ndarray) -> float:
    """The largest error of `values` on the grid of `params`, in steps."""
    scale, zero = params.scale[0], params.zero_point[0]
    codes = np.clip(np.rint(values / scale) + zero, ACTIVATION_MIN, ACTIVATION_MAX)
    return float(np.abs((codes - zero) * scale - values).max() / scale)


@pytest.mark.parametrize("low,high", NEAR_CONSTANT)
def test_near_constant_values_have_ranges(low, high):
    """Every observer gives a range within the extremes, whose grid meets the values."""
    values = np.linspace(low, high, 4096).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    found = ranges(values, low, high, BINS)
    assert list(found) == list(OBSERVERS)
    for name, (a, b) in found.items():
        assert low <= a <= b <= high, name
    if low > 0 or high < 0:
        for a, b in found.values():
            assert error_in_steps(activation_params("t", a, b), values.astype(np.float64)) <= 0.5


@given(st.floats(-(2.0**126), 2.0**126, width=32), st.sampled_from(list(OBSERVERS)))
def test_a_constant_lies_on_its_grid(value, observer):
    low, high = ranges(np.full(9, value, np.float32), value, value, BINS)[observer]
    assert (low, high) == (value, value)
    assert error_in_steps(activation_params("t", low, high), np.array([value])) <= 0.5


@given(st.floats(-8192, 8192, width=32), st.integers(1, 200))
def test_neighbours_of_a_number_are_counted(value, steps):
    """A spread of a few float32 neighbours, which float32 edges can't cut into bins."""
    values = np.float32(value) + np.arange(steps + 1) * np.spacing(np.float32(value))
    values = values.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    for a, b in ranges(values, low, high, BINS).values():
        assert low <= a <= b <= high


@pytest.mark.parametrize("low,high", [(np.nan, 1.0), (0.0, np.inf), (1.0, 0.0)])
def test_no_range_of_what_is_no_range(low, high):
    with pytest.raises(ValueError, match="no range"):
        ranges(np.ones(3, np.float32), low, high, BINS)


DEAD = ("f.weight", "f.bias", "g.weight", "g.bias", "fc1.weight")


def weights(variant: Variant, kind: str) -> dict[str, Tensor]:
    """Ten classes' weights, fresh, saturated or trained-like."""
    if kind == "fresh":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return EfficientMod(variant, 10).state_dict()
    state = trained_like_state(variant, 10)
    for value in state.values():
        if kind == "saturated" and value.ndim > 1:
            value *= 10  # GELU and softmax at their ends
    return state


def captured(variant: Variant, kind: str, size: int = SIZE) -> Canonical:
    """The canonical form of a network with these weights."""
    model = EfficientMod(variant, 10)
    model.load_state_dict(weights(variant, kind))
    return canonical_form(model.eval(), (3, size, size))


def changed(canonical: Canonical, kind: str) -> Canonical:
    """What training can make of trained-like weights."""
    state = {name: value.clone() for name, value in canonical.state().items()}
    for name, value in state.items():
        if kind == "saturated" and value.ndim > 1:
            value *= 10
        elif (
            (kind == "no layer scale" and ".fc2." in name)
            or (kind == "no stem" and "patch_embed.proj" in name)
            or kind == "nothing"
        ):
            value.zero_()
        elif kind == "dead" and ".mlp." in name and name.endswith(DEAD):
            value[1:] = 0
        elif kind == "constant context" and ".context_layer.g." in name:
            value.mul_(1e-7) if value.ndim > 1 else value.fill_(1.0)
        elif kind == "large bias" and ".context_layer.g." in name:
            value.zero_() if value.ndim > 1 else value.fill_(50.0)
    return canonical.with_state(state)


def pictures(count: int, seed: int = 0) -> Tensor:
    """Smooth random pictures, float32 (count, 3, SIZE, SIZE), about normalized."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 8, 8, generator=generator)
    fine = torch.randn(count, 3, SIZE, SIZE, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=SIZE, mode="bicubic") + 0.3 * fine


KINDS = (
    "trained-like", "saturated", "no layer scale", "no stem", "nothing", "dead",
    "constant context", "large bias",
)  # fmt: skip


def test_fresh_weights_become_a_program(shallow_variant):
    _becomes_a_program(captured(shallow_variant, "fresh"), 10)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_weights_becomes_a_program(shallow_form, kind):
    # A saturated network's softmax turns a rounding into another picture.
    _becomes_a_program(changed(shallow_form, kind), 10 if kind != "saturated" else -np.inf)


def _becomes_a_program(canonical: Canonical, least: float) -> None:
    """Both forms, both recipes: calibrated, finite parameters, finite logits, near the float's."""
    x = pictures(4)
    forms = {name: canonical.form(options) for name, options in FORMS.items()}
    calibration = Calibration("w", "i", 4, observe(forms["xnnpack"], [x], 1))
    with torch.no_grad():
        expected = forms["xnnpack"](x).numpy()
    for recipe, form in (("cpu", "xnnpack"), ("npu", "coreml")):
        table = make_table(forms[form], form, load_recipe(recipe), calibration)
        assert all(np.isfinite(s) and s > 0 for e in table.entries.values() for s in e.scale)
        with torch.no_grad():
            logits = quantize(forms[form], table, True)(x).numpy()
        assert np.isfinite(logits).all()
        assert sqnr_db(expected, logits) > least


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientmod_s", "efficientmod_s_conv"])
def test_fresh_weights_of_the_large_variants_are_calibrated(name):
    """Where tensors of 0.99996 to 0.99997 came up."""
    variant = get_variant(name)
    form = captured(variant, "fresh").form(FORMS["xnnpack"])
    calibration = Calibration("w", "i", 2, observe(form, [pictures(2)], 1))
    table = make_table(form, "xnnpack", load_recipe("cpu"), calibration)
    with torch.no_grad():
        assert torch.isfinite(quantize(form, table, True)(pictures(1))).all()


@pytest.mark.slow
def test_biases_fit_int32_in_the_files(narrow_form, tmp_path):
    """A dead channel with a large bias: its weight's finest step is too fine for the bias."""
    form = changed(narrow_form, "large bias").form(FORMS["xnnpack"])
    x = pictures(4)
    calibration = Calibration("w", "i", 4, observe(form, [x], 1))
    table = make_table(form, "xnnpack", load_recipe("cpu"), calibration)
    assert [e for e in table.entries.values() if "fit int32" in e.note]
    program = quantize(form, table, executorch.facts.fold)
    path = tmp_path / "model.pte"
    info = ModelInfo("model", tuple(map(str, range(10))), Preprocess(size=SIZE))
    executorch.lower(program, info, path, int8=True)
    with torch.no_grad():
        expected = program(x[:1]).numpy()
    found = executorch.load(path).run(x[:1].numpy())[None]
    assert sqnr_db(expected, found) > 20  # 4 and less where biases wrap around


@pytest.mark.slow
def test_the_check_lets_silent_layers_underflow(shallow_variant, tmp_path):
    """Layer scales of 1e-4 put a fresh network's outputs below float16's normal numbers."""
    form = captured(shallow_variant, "fresh").form(FORMS["coreml"])
    info = ModelInfo("model", tuple(map(str, range(10))), Preprocess(size=SIZE))
    path = tmp_path / "model.mlpackage"
    coreml.lower(form, info, path, int8=False)
    pixels = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), dtype=np.uint8)
    image = info.preprocess.normalize(pixels)
    assert check(path, form, image).passed
    wrong = copy.deepcopy(form)  # negative control: a layer that does count
    with torch.no_grad():
        (head,) = (m for m in wrong.modules() if getattr(m, "module", "") == "head")
        head.weight[0] *= 1.1
    assert not check(path, wrong, image).passed


def test_dead_channels_dont_make_outliers_of_the_others(shallow_form):
    pairs = list(find_pairs(shallow_form.graph))
    found = {p.tensor: torch.ones(p.channels) for p in pairs}
    assert choose(pairs, found) == {}
    for values in found.values():
        values[2:] = 0.0
    chosen = choose(pairs, found)
    assert all(tensor.endswith(".f:out") for tensor in chosen)
    # An outlier is brought down no further than the finest scale reaches.
    for values in found.values():
        values[:] = 1e-4
        values[0] = 1.0
    for tensor, exponents in choose(pairs, found).items():
        if not tensor.endswith(".f:out"):
            most = float((found[tensor] / torch.tensor(exponents).exp2()).max())
            assert most >= MIN_SCALE * (ACTIVATION_MAX - ACTIVATION_MIN) / 2**0.5


def test_overflow_is_named_by_tensor(shallow_form):
    state = shallow_form.state()
    wide = {"patch_embed.norm:shifted.scale": state["patch_embed.norm:shifted.scale"] * 1e25}
    form = shallow_form.with_state({**state, **wide}).form(FORMS["xnnpack"])
    where = r"tensor layers\.0\.blocks\.0\.norm:square is not finite"
    with pytest.raises(UserError, match=where):
        refuse_overflow(form, pictures(1))
    with pytest.raises(UserError, match=where):
        observe(form, [pictures(1)], 1)
    sane = shallow_form.form(FORMS["xnnpack"])
    observed = observe(sane, [pictures(1)], 1)
    table = make_table(sane, "xnnpack", load_recipe("npu"), Calibration("w", "i", 1, observed))
    with pytest.raises(UserError, match="tensor network:input is not finite"):
        code_counts(SwitchedProgram(sane, table), pictures(1) * torch.inf)
    program = QatProgram(sane, table)
    program.ranges[0].ends.data.fill_(torch.nan)
    with pytest.raises(UserError, match="not finite any more; lower --lr"):
        program.refresh()


def test_scales_beyond_float16(shallow_form):
    state = shallow_form.state()
    large = shallow_form.with_state({**state, "head.weight": state["head.weight"] * 1e9})
    form = large.form(FORMS["xnnpack"])
    calibration = Calibration("w", "i", 1, observe(form, [pictures(1)], 1))
    make_table(form, "xnnpack", load_recipe("cpu"), calibration)
    with pytest.raises(UserError, match=r"Core ML: the scale of head:\w+ .* beyond float16"):
        make_table(form, "coreml", load_recipe("cpu"), calibration)


@pytest.mark.parametrize("low,high", [(float("nan"), 1.0), (0.0, float("inf")), (2.0, 1.0)])
def test_a_table_without_ranges(tmp_path, shallow_form, low, high):
    form = shallow_form.form(FORMS["xnnpack"])
    path = tmp_path / "calibration.json"
    Calibration("w", "i", 1, observe(form, [pictures(1)], 1)).save(path)
    values = json.loads(path.read_text("utf-8"))
    values["tensors"]["head:out"][0] = [low, high]
    path.write_text(json.dumps(values), "utf-8")
    with pytest.raises(UserError, match="head:out has no range"):
        load_calibration(path)


@pytest.mark.parametrize("int8", [False, True])
def test_values_beyond_float16_are_named(shallow_form, tmp_path, int8):
    module = changed(shallow_form, "saturated").form(FORMS["coreml"])
    if int8:
        calibration = Calibration("w", "i", 1, observe(module, [pictures(1)], 1))
        table = make_table(module, "coreml", load_recipe("cpu"), calibration)
        module = quantize(module, table, coreml.facts.fold)
    info = ModelInfo("model", tuple(map(str, range(10))), Preprocess(size=SIZE))
    path = tmp_path / "model.mlpackage"
    coreml.lower(module, info, path, int8=int8)
    says = r"layers\.0\.blocks\.0\.mlp\.fc2:weight makes values up to .*, beyond float16 \(65,504\)"
    with pytest.raises(UserError, match=says):
        check(path, module, info.preprocess.normalize(draw_card(SIZE)[None]))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    "name,target,backend,kind",
    [
        # Saturated as here, its values are beyond float16, which Core ML computes in.
        ("efficientmod_s_conv", "coreml", coreml, "fresh"),
        ("efficientmod_s_conv", "coreml", coreml, "trained-like"),
        ("efficientmod_s_conv", "executorch", executorch, "saturated"),
        ("efficientmod_s", "tflite", tflite, "fresh"),
        ("efficientmod_s", "tflite", tflite, "trained-like"),
        ("efficientmod_s", "tflite", tflite, "saturated"),
    ],
)
def test_the_large_variants_are_exported(data_dir, tmp_path, name, target, backend, kind):
    path, out = tmp_path / "a.safetensors", tmp_path / "bundle"
    save_checkpoint(path, weights(get_variant(name), kind), {"model": name}, torch.float32)
    for folder in sorted(data_dir.glob("*/*/")):
        few = tmp_path / "data" / folder.relative_to(data_dir)
        few.mkdir(parents=True)
        for image in sorted(folder.iterdir())[:3]:
            shutil.copy(image, few)
    data = DataSet(tmp_path / "data", classes=ClassNames(sorted=True))
    config = ExportConfig(name, out, path, data, (target,), size=SIZE)
    # What an earlier export left there is replaced, but for its history.
    for kept in (FILE_NAME, HISTORY):
        (out / kept).parent.mkdir(parents=True, exist_ok=True)
        (out / kept).write_text("{}\n")
    files = export_bundle(config).files
    assert (out / HISTORY).read_text() == "{}\n" and load_bundle(out)
    int8 = next(f for f in files if f.precision == "int8")
    assert int8.audit["int8_share"] >= 0.99
    logits = backend.load(out / int8.file).run(pictures(1).numpy())
    assert np.isfinite(logits).all()
