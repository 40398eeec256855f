"""Quantization-aware training: what is trained is what is lowered, and a run that stops goes on."""

from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from export.verbs.main import main
from mobilemod.data.imagefolder import read_folder
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.forms.mobile_ops import COREML_FORM, XNNPACK_FORM, MergedColumns, NamedConv2d
from mobilemod.networks.checkpoints import save_checkpoint
from mobilemod.networks.efficientmod import VARIANTS
from mobilemod.training.images import Images
from quantization.calibration import Calibration, Observed, observe, weights_digest
from quantization.params import ParameterTable, activation_params
from quantization.prepare.prepared import Prepared, load_prepared
from quantization.program import make_table, quantize
from quantization.qat import network as qat
from quantization.qat.config import QatConfig, make_qat_config
from quantization.qat.network import QatProgram
from quantization.qat.run import FloatNetwork, finish, lowered, require_trained
from quantization.qat.train import QatTrainer, losses
from quantization.recipe import load_recipe

SIZE = 64
SHORT = QatConfig(
    steps=6, batch_size=2, size=SIZE, lr=1e-3, range_lr=1e-2, warmup_steps=1, save_every=1,
    eval_every=3, eval_images=4,
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def known_narrow(narrow_variant):
    """The narrow network among the known ones, as prepared weights are loaded by name."""
    VARIANTS[narrow_variant.name] = narrow_variant
    torch.set_num_threads(1)
    yield
    del VARIANTS[narrow_variant.name]


@pytest.fixture(scope="module")
def images() -> Images:
    """Ten smooth random pictures."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (10, 8, 8, 3), np.uint8)
    pixels = [np.asarray(Image.fromarray(s).resize((SIZE, SIZE))) for s in small]
    return Images(np.stack(pixels), np.arange(10, dtype=np.int64))


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory):
    """`images` as an image folder of ten classes."""
    root = tmp_path_factory.mktemp("images")
    for split in ("train", "val"):
        for pixels, target in zip(images.pixels, images.targets, strict=True):
            path = root / split / f"class{target}" / "0.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(pixels).save(path)
    return root


@pytest.fixture(scope="module")
def source(narrow_model) -> FloatNetwork:
    ids = tuple(map(str, range(10)))
    state = narrow_model.state_dict()
    return FloatNetwork(narrow_model.variant.name, 10, state, ids, "narrow.safetensors")


@pytest.fixture(scope="module")
def prepared(narrow_form, images) -> Prepared:
    """The narrow network as it is, calibrated."""
    x = torch.from_numpy(Preprocess(size=SIZE).normalize(images.pixels))
    observed = observe(narrow_form.form(XNNPACK_FORM), [x], 1)
    state = narrow_form.state()
    digest = weights_digest(state)
    return Prepared(state, Calibration(digest, "i", len(x), observed), digest, "images")


@pytest.fixture(scope="module")
def trainer(narrow_form, narrow_model, prepared, images):
    """`trainer(out)`: a run of the narrow network."""

    def make(out, config=SHORT, recipe="npu", prepared=prepared) -> QatTrainer:
        program = QatProgram(*lowered(narrow_form, load_recipe(recipe), prepared))
        teacher = copy.deepcopy(narrow_model)
        return QatTrainer(program, teacher, config, images, images, out, "cpu", {"recipe": recipe})

    return make


def straight_through(x, low, high):
    """The quantizer written out, with autograd: `low` and `high` are its ends."""
    scale = (high - low) / 255
    steps = x / scale
    near = scale * (steps + (steps.round() - steps).detach())
    return torch.where(x < low, low, torch.where(x > high, high, near))


def test_gradients_are_those_of_the_quantizer_written_out():
    params = activation_params("t", -1.0, 1.55)
    assert params.scale[0] == pytest.approx(0.01) and params.zero_point == (-28,)
    x = torch.randn(4, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    # Half a step beyond an end is rounded to it, here, and clipped there.
    x[(x > -1.006) & (x < -0.999) | (x > 1.549) & (x < 1.556)] = 0
    x.requires_grad_()
    weight = torch.randn(4, 8, 6, 6, generator=torch.Generator().manual_seed(1))
    ends = torch.zeros(2, requires_grad=True)
    out = qat._Quantize.apply(x, ends, params, 2.55)
    (out * weight).sum().backward()
    found = x.grad.clone(), ends.grad
    x.grad = None
    low, high = (torch.tensor(v, requires_grad=True) for v in (-1.0, 1.55))
    expected = straight_through(x, low, high)
    assert torch.allclose(out, expected, atol=1e-6)
    (expected * weight).sum().backward()
    assert torch.allclose(found[0], x.grad) and 50 < int((x.grad == 0).sum()) < 400
    assert torch.allclose(found[1], 2.55 * torch.stack([low.grad, high.grad]), rtol=1e-3)


def test_the_gradient_of_a_range_is_estimated_from_all_channels(monkeypatch):
    params = activation_params("t", -1.0, 1.0)
    generator = torch.Generator().manual_seed(0)
    grad, x = (torch.randn(2, 32, 40, 40, generator=generator).abs() for _ in range(2))
    x = x.to(memory_format=torch.channels_last)
    grid = (params.scale[0], *qat.limits(params))
    whole = qat._range_gradient(grad, x, *grid)
    monkeypatch.setattr(qat, "GRADIENT_SAMPLES", 4096)
    assert torch.allclose(qat._range_gradient(grad, x, *grid)[1], whole[1], rtol=0.05)
    one = torch.zeros_like(x)
    one[:, 7] = 2
    assert qat._range_gradient(torch.ones_like(x), one, *grid)[1] > 0


@pytest.mark.parametrize("recipe", ["cpu", "cpu-x86", "npu"])
@torch.no_grad()
def test_it_computes_the_quantized_program_bit_for_bit(narrow_form, prepared, images, recipe):
    form, table = lowered(narrow_form, load_recipe(recipe), prepared)
    program = QatProgram(form, table)
    x = torch.from_numpy(Preprocess(size=SIZE).normalize(images.pixels[:2]))
    assert torch.equal(program(x), quantize(form, table, True)(x))
    assert program.parameters_now().items() <= table.entries.items()


def test_no_gradient_is_lost_to_a_variance_of_code_zero(narrow_form, prepared, images):
    form, table = lowered(narrow_form, load_recipe("npu"), prepared)
    name = "layers.0.blocks.0.norm:variance"
    wide = {**table.entries, name: activation_params(name, 0.0, 1e6)}
    program = QatProgram(form, ParameterTable(table.form, table.recipe, wide))
    x = torch.from_numpy(Preprocess(size=SIZE).normalize(images.pixels[:2]))
    program(x).square().sum().backward()
    gradients = [p.grad for p in program.parameters() if p.grad is not None]
    assert len(gradients) > 100 and all(torch.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("recipe", ["cpu-x86", "npu"])
def test_what_was_trained_is_what_is_lowered(
    narrow_form, trainer, prepared, images, folder, tmp_path, recipe
):
    run = trainer(tmp_path, recipe=recipe)
    before = copy.deepcopy(run.program.parameters_now())
    run.fit()
    rules = load_recipe(recipe)
    train = read_folder(folder / "train")
    preprocess = Preprocess(size=SIZE)
    finish(run.program, narrow_form, rules, prepared, train, preprocess).save(tmp_path)
    again = load_prepared(tmp_path)
    assert again.reference == prepared.reference != again.calibration.weights
    form, table = lowered(narrow_form, rules, again)
    require_trained(run.program, table)
    exact = run.program.parameters_now()
    for name, params in exact.items():
        entry = table.entries[name]
        assert (params.scale, params.zero_point) == (entry.scale, entry.zero_point), name
    kinds = {p.kind for n, p in exact.items() if p.scale != before[n].scale}
    assert {"activation", "weight"} <= kinds
    # Core ML's form has the same parameters wherever it has the same tensors.
    other = narrow_form.with_state(again.state).form(COREML_FORM)
    coreml = make_table(other, "coreml", rules, again.calibration).entries
    shared = [n for n in exact if n in coreml and n != "patch_embed.proj:weight"]
    assert len(shared) > 60
    for name in shared:
        entry = coreml[name]
        assert (entry.scale, entry.zero_point) == (exact[name].scale, exact[name].zero_point), name
    # And the program of the files is the trained one.
    x = torch.from_numpy(preprocess.normalize(images.pixels[:2]))
    with torch.no_grad():
        assert torch.equal(quantize(form, table, True)(x), run.program(x))


def test_another_range_than_the_trained_one_is_noticed(narrow_form, prepared):
    form, table = lowered(narrow_form, load_recipe("npu"), prepared)
    program = QatProgram(form, table)
    require_trained(program, table)
    for name in ("layers.0.blocks.1.mlp:product", "layers.0.blocks.1.mlp.fc2:weight"):
        scale = table.entries[name].scale
        moved = dataclasses.replace(
            table.entries[name], scale=(float(np.nextafter(scale[0], 9)), *scale[1:])
        )
        other = ParameterTable(table.form, table.recipe, {**table.entries, name: moved})
        with pytest.raises(RuntimeError, match=name):
            require_trained(program, other)


def test_norms_averages_and_the_stems_zeros_stay(trainer, tmp_path):
    run = trainer(tmp_path)
    form = run.program.form
    stem = next(m for m in form.modules() if isinstance(m, MergedColumns))
    fixed = [m for m in form.modules() if getattr(m, "role", "") == "norm.weight"]
    before = [copy.deepcopy(m.state_dict()) for m in [stem, *fixed]]
    run.fit()
    zero = before[0]["conv.weight"] == 0
    assert int(zero.sum()) == zero.numel() // 8 and not stem.conv.weight[zero].any()
    assert not torch.equal(stem.conv.weight, before[0]["conv.weight"])
    assert len(fixed) > 20 and all(isinstance(m, NamedConv2d) for m in fixed)
    for module, old in zip(fixed, before[1:], strict=True):
        assert all(torch.equal(v, old[k]) for k, v in module.state_dict().items())


def test_a_stopped_run_goes_on_to_the_same_weights_and_ranges(trainer, tmp_path, monkeypatch):
    whole = trainer(tmp_path / "whole")
    whole.fit()
    cut = trainer(tmp_path / "cut")
    save = QatTrainer.save

    def stop(self):
        save(self)
        if self.step == 4:  # after an evaluation, within the second record
            raise KeyboardInterrupt

    monkeypatch.setattr(QatTrainer, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        cut.fit()
    monkeypatch.setattr(QatTrainer, "save", save)
    rest = trainer(tmp_path / "cut")
    assert rest.resume() and rest.step == 4
    rest.fit()
    assert rest.history == whole.history and [h["step"] for h in rest.history] == [0, 3, 6]
    trained = whole.program.state_dict()
    for name, value in rest.program.state_dict().items():
        assert torch.equal(value, trained[name]), name
    fresh = trainer(tmp_path / "fresh").program.state_dict()
    moved = [name for name, value in fresh.items() if not torch.equal(value, trained[name])]
    assert any(n.startswith("ranges.") for n in moved) and any("weight" in n for n in moved)


def test_another_run_does_not_resume(trainer, tmp_path):
    trainer(tmp_path, dataclasses.replace(SHORT, steps=1)).fit()
    with pytest.raises(UserError, match=r"another recipe \(recipe, steps differ\)"):
        trainer(tmp_path, recipe="cpu").resume()


def test_ranges_that_are_too_wide_are_drawn_in(trainer, prepared, tmp_path):
    observed = {
        name: Observed.fixed(3 * seen.low, 3 * seen.high)
        for name, seen in prepared.calibration.observed.items()
    }
    calibration = dataclasses.replace(prepared.calibration, observed=observed)
    wide = dataclasses.replace(prepared, calibration=calibration)
    config = dataclasses.replace(SHORT, steps=15, batch_size=5, lr=1e-6, range_lr=0.05,
                                 eval_every=15, save_every=15, eval_images=10)  # fmt: skip
    run = trainer(tmp_path, config, prepared=wide)
    run.fit()
    first, last = run.history
    assert last["sqnr_db"] > first["sqnr_db"] + 2


def test_the_loss_is_what_the_share_says():
    generator = torch.Generator().manual_seed(0)
    logits, teacher = (torch.randn(4, 10, generator=generator) for _ in range(2))
    targets = torch.arange(4)
    config = QatConfig(distillation=0.25, temperature=3.0)
    found = losses(logits, teacher, targets, config)
    p, q = (torch.softmax(v / 3, 1) for v in (teacher, logits))
    divergence = 9 * float((p * (p / q).log()).sum()) / 4
    assert float(found.divergence) == pytest.approx(divergence, rel=1e-4)
    assert float(found.loss) == pytest.approx(
        0.25 * divergence + 0.75 * float(found.cross_entropy), rel=1e-4
    )
    assert float(losses(teacher, teacher, targets, config).divergence) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "values,says",
    [
        ({"range_learning_rate": 1}, "unknown key 'range_learning_rate'"),
        ({"distillation": 1.5}, "distillation"),
        ({"steps": 0}, "steps"),
        ({"size": 100}, "100: must be a multiple of 32"),
        ({"measure_images": -1}, "measure_images must not be negative"),
        ([1], "expected an object"),
    ],
)
def test_a_wrong_config_is_named(values, says, tmp_path):
    path = tmp_path / "qat.json"
    path.write_text(json.dumps(values))
    with pytest.raises(UserError, match=says):
        make_qat_config(path, {})
    good = make_qat_config(None, {"steps": 7})
    assert good.steps == 7
    path.write_text(json.dumps(dataclasses.asdict(good)))
    assert make_qat_config(path, {}) == good


def test_the_verb_leaves_prepared_weights_record_and_card(
    source, narrow_form, folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("MOBILEMOD_CACHE", str(tmp_path / "cache"))
    checkpoint = tmp_path / "narrow.safetensors"
    metadata = {"model": source.variant, "num_classes": "10"}
    save_checkpoint(checkpoint, source.state, metadata, torch.float32)
    out, config = tmp_path / "run", tmp_path / "qat.json"
    config.write_text(json.dumps({"warmup_steps": 1, "eval_images": 4, "measure_images": 5}))
    arguments = ["train", "--qat", "cpu", "--model", source.variant, "--checkpoint", checkpoint,
                 "--data", folder, "--out", out, "--config", config, "--steps", 2, "--size", SIZE,
                 "--batch-size", 2, "--threads", 1, "--classes", "sorted",
                 "--json", "-"]  # fmt: skip
    assert main([str(a) for a in arguments]) == 0
    record = json.loads(capsys.readouterr().out)
    prepared = load_prepared(out)
    assert record["weights"] == prepared.calibration.weights == weights_digest(prepared.state)
    assert (
        record["reference"] == weights_digest(narrow_form.state())
        and record["config"]["steps"] == 2
    )
    assert set(record["programs"]) == {"calibrated", "trained"} and record["images"] == 5
    assert load_recipe(str(out / "recipe.json")) == load_recipe("cpu")
    card = (out / f"{source.variant}.md").read_text()
    assert f"{record['programs']['trained']['top1_percent']:.2f} %" in card
    with Image.open(out / "curve.png") as picture:
        assert picture.width > 400


@pytest.mark.parametrize(
    "arguments,says",
    [
        (["--qat", "cpu", "--phases", "96:1"], "--phases doesn't go with --qat"),
        (["--steps", "3"], "--steps goes with --qat"),
        (["--qat", "gpu"], "no recipe 'gpu'"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments, says, folder, tmp_path, capsys):
    assert main(["train", "--data", str(folder), "--out", str(tmp_path), *arguments]) == 2
    assert says in capsys.readouterr().err


def test_ranges_that_were_trained_serve_every_observer():
    fixed = Observed.fixed(-0.25, 3.0)
    for observer in ("minmax", "mse", "percentile", "entropy"):
        assert fixed.range(observer) == (-0.25, 3.0)
