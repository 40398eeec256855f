"""Training: the recipe, the schedule, the augmentation, and a run that stops and goes on."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from export.verbs.main import main
from mobilemod.errors import UserError
from mobilemod.machine.sharing import measuring, wait_while_measuring
from mobilemod.networks.checkpoints import bundled_checkpoint, load_checkpoint
from mobilemod.networks.registry import build
from mobilemod.training.augment import augment, color_jitter, erase, mix, random_resized_crop
from mobilemod.training.config import FineTuneConfig, Phase, TrainConfig, parse_phases
from mobilemod.training.device import resolve_precision
from mobilemod.training.images import Batches, Images
from mobilemod.training.learner import At
from mobilemod.training.learners.classification import LEARNER
from mobilemod.training.processes import Processes
from mobilemod.training.run import make_config
from mobilemod.training.train import Trainer, learning_rate, split

TINY = TrainConfig(
    num_classes=2, phases=(Phase(32, 2),), batch_size=8, warmup_epochs=0.5, precision="fp32"
)


@pytest.fixture(scope="module")
def images() -> Images:
    """Two classes that differ in colour, so that a step or two learns something."""
    rng = np.random.default_rng(0)
    targets = np.arange(16) % 2
    pixels = rng.integers(0, 120, (16, 224, 224, 3), np.uint8)
    pixels[targets == 1, :, :, 0] += 100
    return Images(pixels, targets.astype(np.int64))


def trained(images, out, config=TINY, epochs=None):
    trainer = Trainer(config, images, images, out, "cpu")
    resumed = trainer.resume()
    if epochs is not None:
        real, Trainer.save = Trainer.save, _stop_after(epochs)
        try:
            trainer.fit()
        except KeyboardInterrupt:
            pass
        finally:
            Trainer.save = real
    else:
        trainer.fit()
    return trainer, resumed


def _stop_after(epochs):
    save = Trainer.save

    def stop(self):
        save(self)
        if len(self.history) == epochs:
            raise KeyboardInterrupt

    return stop


def test_a_stopped_run_goes_on_to_the_same_weights(images, tmp_path):
    torch.set_num_threads(1)
    whole, _ = trained(images, tmp_path / "whole")
    trained(images, tmp_path / "cut", epochs=1)
    rest, resumed = trained(images, tmp_path / "cut")
    assert resumed and len(rest.history) == 2
    for name, value in whole.ema.state_dict().items():
        assert torch.equal(value, rest.ema.state_dict()[name]), name
    moved = Trainer(TINY, images, images, tmp_path / "fresh", "cpu").model.state_dict()
    assert any(not torch.equal(moved[k], v) for k, v in whole.model.state_dict().items())


def test_another_recipe_does_not_resume(images, tmp_path):
    trained(images, tmp_path, epochs=1)
    other = TrainConfig(**{**TINY.__dict__, "lr": 1e-3})
    with pytest.raises(UserError, match="another recipe.*lr"):
        Trainer(other, images, images, tmp_path, "cpu").resume()


def test_precision_is_chosen_by_the_device_and_kept_by_the_run(images, tmp_path, monkeypatch):
    can = {"avx512_bf16": False, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can)
    auto = dataclasses.replace(TINY, precision="auto")
    trainer = Trainer(auto, images, images, tmp_path, "cpu")
    assert trainer.config.precision == "fp32" and TrainConfig().precision == "auto"
    assert resolve_precision("bf16", "cpu") == "bf16"
    trainer.save()
    can["amx_bf16"] = True
    assert resolve_precision("auto", "cpu") == "bf16"
    # Begun in fp32, a run goes on in fp32 wherever it goes on, unless told otherwise.
    again = Trainer(auto, images, images, tmp_path, "cpu")
    assert again.resume() and again.config.precision == "fp32"
    told = dataclasses.replace(TINY, precision="bf16")
    with pytest.raises(UserError, match="precision differ"):
        Trainer(told, images, images, tmp_path, "cpu").resume()


def test_a_damaged_state_is_named(images, tmp_path):
    trainer = Trainer(TINY, images, images, tmp_path, "cpu")
    trainer.save()
    path = tmp_path / "training_state.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="training_state.pt is damaged"):
        trainer.resume()


def test_batches_go_on_where_they_stopped(images):
    batches = Batches(images, 4, 7, TINY)
    whole = list(batches.epoch(1, 32))
    rest = list(batches.epoch(1, 32, first=2))
    assert len(whole) == batches.per_epoch == 4 and len(rest) == 2
    for (x, y), (u, v) in zip(whole[2:], rest, strict=True):
        assert torch.equal(x, u) and torch.equal(y, v)
    assert not torch.equal(whole[0][0], next(batches.epoch(2, 32))[0])
    with pytest.raises(UserError, match="16 training images make no batch of 17"):
        Batches(images, 17, 0, TINY)


@pytest.mark.parametrize("stopped_after", [1, 3])
def test_a_run_goes_on_within_an_epoch(images, tmp_path, monkeypatch, stopped_after):
    torch.set_num_threads(1)
    many = Images(np.tile(images.pixels, (2, 1, 1, 1)), np.tile(images.targets, 2))
    whole, _ = trained(many, tmp_path / "whole")
    save = Trainer.save

    def stop(self):
        save(self)
        if self.step == stopped_after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("mobilemod.training.train.SAVE_SECONDS", 0.0)
        patch.setattr(Trainer, "save", stop)
        trained(many, tmp_path / "cut")
    rest, resumed = trained(many, tmp_path / "cut")
    assert resumed and rest.history == whole.history
    for name, value in whole.ema.state_dict().items():
        assert torch.equal(value, rest.ema.state_dict()[name]), name


def test_what_the_course_is_measured_on_trains_nothing(images):
    numbered = Images(images.pixels, np.arange(16))
    for seed in (0, 1):
        train, selected = split(numbered, 0.2, seed)
        assert len(selected) == 3 and len(train) == 13
        assert sorted([*train.targets, *selected.targets]) == list(range(16))
        again = split(numbered, 0.2, seed)[1]
        assert np.array_equal(selected.targets, again.targets)
    assert not np.array_equal(selected.targets, split(numbered, 0.2, 0)[1].targets)
    assert len(split(numbered, 0.01, 0)[1]) == 1
    with pytest.raises(UserError, match="1 training images are too few"):
        split(numbered.subset(np.array([3])), 0.1, 0)


def test_a_part_is_erased():
    rng = np.random.default_rng(0)
    pixels = np.zeros((40, 60, 3), np.uint8)
    for _ in range(20):
        changed = (erase(pixels, rng) != 0).any(axis=2)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        box = changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.mean() > 0.9 and 0.01 < changed.mean() < 0.27
    assert not pixels.any()
    erasing = dataclasses.replace(TINY, erase_probability=1.0, color_jitter=0.0)
    assert augment(pixels, 32, erasing, rng).any()


# -- from a checkpoint


def folder_of(images, root, names=("class0", "class1")):
    for part in ("train", "val"):
        for i, target in enumerate(images.targets):
            folder = root / part / names[target]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images.pixels[i]).save(folder / f"{i}.png")
    return root


def fine_tuned(data, out, capsys, *more):
    arguments = ["train", "--data", str(data), "--out", str(out), "--phases", "32:1",
                 "--batch-size", "8", "--threads", "1", "--json", "-", *more]  # fmt: skip
    code = main(arguments)
    said = capsys.readouterr()
    return (json.loads(said.out) if code == 0 else None), said.err


def test_other_classes_get_a_head_of_their_own(images, tmp_path, capsys):
    data, bundled = folder_of(images, tmp_path / "data"), bundled_checkpoint("efficientmod_xxs")
    first, said = fine_tuned(data, tmp_path / "a", capsys, "--checkpoint", str(bundled), "--frozen")
    assert "without its head" in said and bundled.name in first["from"]
    assert first["config"]["lr"] == FineTuneConfig().lr
    before, after = load_checkpoint(bundled).state, load_checkpoint(first["checkpoint"]).state
    assert len(after["head.bias"]) == 2
    for name, value in after.items():
        kept = name not in ("head.weight", "head.bias")
        assert not kept or torch.equal(value, before[name].half().float()), name


def test_the_same_classes_keep_the_head(images, tmp_path, capsys):
    data = folder_of(images, tmp_path / "data")
    first, _ = fine_tuned(data, tmp_path / "a", capsys)
    start = load_checkpoint(first["checkpoint"]).state
    config = make_config(None, {"checkpoint": first["checkpoint"]}, 2)
    model = build("efficientmod_xxs", 2)
    LEARNER.start(model, config, iter, ["class0", "class1"])
    assert all(torch.equal(v, start[k]) for k, v in model.state_dict().items())
    assert "without" not in capsys.readouterr().err
    LEARNER.start(model, config, iter, ["class1", "class0"])
    assert "without its head" in capsys.readouterr().err


def test_a_teacher_is_learned_from(images, tmp_path, capsys):
    data = folder_of(images, tmp_path / "data")
    first, _ = fine_tuned(data, tmp_path / "a", capsys)
    taught = dataclasses.replace(TINY, teacher=first["checkpoint"], distillation=1.0)
    trainer = Trainer(taught, images, images, tmp_path / "b", "cpu")
    x, y = next(trainer.batches.epoch(0, 32))
    answers = trainer._taught(x)
    assert not answers.requires_grad
    at = At(0, np.random.default_rng(0), lambda batch: answers)
    unmixed = dataclasses.replace(taught, mix_probability=0.0)
    assert LEARNER.loss(lambda batch: answers, x, y, unmixed, at) < 1e-6
    assert LEARNER.loss(lambda batch: -answers, x, y, unmixed, at) > 1e-6
    trainer.fit()
    assert len(trainer.history) == 2
    with pytest.raises(UserError, match="head has 2"):
        Trainer(dataclasses.replace(taught, num_classes=3), images, images, tmp_path, "cpu")


# -- several processes


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_a_batch_in_pairs(count):
    places = np.arange(16)
    parts = [Processes(rank, count).share(places) for rank in range(count)]
    assert sorted(np.concatenate(parts)) == list(places)
    assert {len(part) for part in parts} == {16 // count}
    # What lies opposite in the whole batch lies opposite in the part.
    assert all(np.array_equal(part[::-1], 15 - part) for part in parts)
    with pytest.raises(UserError, match="--batch-size 10 isn't a multiple of"):
        Processes(0, count).require_even(10)


@pytest.mark.slow
def test_two_processes_train_the_same_network(images, tmp_path):
    data = folder_of(images, tmp_path / "data")
    recipe = tmp_path / "recipe.json"
    values = {"drop_path": 0, "precision": "fp32", "batch_size": 4, "mix_probability": 1,
              "plain_epochs": 1, "phases": [{"size": 32, "epochs": 2}]}  # fmt: skip
    recipe.write_text(json.dumps(values))
    weights, losses = [], []
    for count in (1, 2):
        out = tmp_path / str(count)
        launched = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                    "--nproc-per-node", str(count)]  # fmt: skip
        subprocess.run(
            [*launched, "-m", "export.verbs", "train", "--data", str(data), "--out", str(out),
             "--config", str(recipe), "--threads", "1"],
            check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        history = json.loads((out / "history.json").read_text())
        weights.append(load_checkpoint(out / "efficientmod_xxs.safetensors").state)
        losses.append([h["loss"] for h in history])
    assert losses[1] == pytest.approx(losses[0], abs=2e-3)
    moved = torch.load(tmp_path / "1" / "training_state.pt", weights_only=True)["step"]
    assert moved == 6
    for name, value in weights[0].items():
        assert torch.allclose(value, weights[1][name], atol=2e-3), name


# -- beside other work


def test_it_stands_still_while_something_is_measured():
    waited = threading.Event()
    with measuring(), measuring():
        thread = threading.Thread(target=lambda: (wait_while_measuring(), waited.set()))
        thread.start()
        assert not waited.wait(1.2)
    assert waited.wait(3)
    thread.join()


def test_it_leaves_the_processor_to_others():
    said = "from mobilemod.machine.sharing import lower_priority; import os; lower_priority(7)"
    code = f"{said}; print(os.nice(0))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert int(found.stdout) - os.nice(0) == 7


def test_learning_rate_warms_up_and_decays():
    config = TrainConfig(phases=(Phase(96, 10),), warmup_epochs=2)
    rates = [learning_rate(config, e) for e in np.linspace(0, 10, 50)]
    top = int(np.argmax(rates))
    assert rates[top] == pytest.approx(config.lr, rel=0.05) and 8 <= top <= 12
    assert rates[0] < config.lr / 100 and rates[-1] == pytest.approx(config.min_lr)
    assert all(a >= b for a, b in zip(rates[top:], rates[top + 1 :], strict=False))


def test_recipe_is_checked(tmp_path):
    assert parse_phases("96:2,128:1") == (Phase(96, 2), Phase(128, 1))
    with pytest.raises(UserError, match="SIZE:EPOCHS"):
        parse_phases("96-2")
    file = tmp_path / "r.json"
    file.write_text('{"learning_rate": 1}')
    with pytest.raises(UserError, match="'learning_rate'"):
        make_config(file, {}, 10)
    assert TrainConfig.from_dict(json.loads(json.dumps(dataclasses.asdict(TINY)))) == TINY
    assert [TrainConfig(phases=(Phase(96, 1), Phase(128, 2))).size_at(e) for e in range(4)] == [
        96, 128, 128, 128,
    ]  # fmt: skip


def test_augmentation_keeps_type_and_mixes_targets():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (50, 80, 3), np.uint8)
    crop = random_resized_crop(pixels, 32, (0.3, 1.0), rng)
    assert crop.shape == (32, 32, 3) and crop.dtype == np.uint8
    assert color_jitter(pixels, 0.0, rng) is pixels
    x, y = torch.randn(4, 3, 32, 32), torch.arange(4)
    config = TrainConfig(mix_probability=1.0)
    for _ in range(10):
        mixed, a, b, lam = mix(x, y, config, rng)
        assert torch.equal(a, y) and torch.equal(b, y.flip(0)) and 0 <= lam <= 1
        share = float((mixed == x).float().mean())
        whole = torch.allclose(mixed, x * lam + x.flip(0) * (1 - lam))
        assert whole or abs(share - lam) < 1e-6
    same, _, _, lam = mix(x, y, TrainConfig(mix_probability=0.0), rng)
    assert lam == 1.0 and same is x


def test_the_config_says_the_model_where_the_command_line_does_not(tmp_path):
    file = tmp_path / "r.json"
    file.write_text('{"model": "efficientmod_s_conv"}')
    seen = {}

    def train(data, out, config_file, overrides, device, threads):
        seen["config"] = make_config(config_file, overrides, 10)
        raise UserError("enough")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mobilemod.training.run.train_and_save", train)
        assert main(["train", "--data", str(tmp_path), "--config", str(file)]) == 2
        assert seen["config"].model == "efficientmod_s_conv"
        main(["train", "--data", str(tmp_path), "--config", str(file), "--model", "efficientmod_s"])
        assert seen["config"].model == "efficientmod_s"


def test_the_verb_leaves_checkpoint_card_and_curve(images, tmp_path, capsys):
    folder_of(images, tmp_path)
    out = tmp_path / "run"
    arguments = ["train", "--data", str(tmp_path), "--out", str(out), "--phases", "32:1",
                 "--batch-size", "8", "--threads", "1", "--json", "-"]  # fmt: skip
    assert main(arguments) == 0
    record = json.loads(capsys.readouterr().out)
    loaded = load_checkpoint(out / "efficientmod_xxs.safetensors")
    assert loaded.variant == "efficientmod_xxs" and loaded.num_classes == 2
    assert json.loads(loaded.metadata["labels"]) == ["class0", "class1"]
    assert record["sha256"] == loaded.sha256
    assert record["config"]["precision"] in ("bf16", "fp32")
    assert f"{record['top1_percent']:.2f} %" in (out / "efficientmod_xxs.md").read_text()
    with Image.open(out / "curve.png") as picture:
        assert picture.width > 400
