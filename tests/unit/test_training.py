"""Training: the recipe, the schedule, the augmentation, and a run that stops and goes on."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from export.verbs.main import main
from mobilemod.errors import UserError
from mobilemod.networks.checkpoints import load_checkpoint
from mobilemod.training.augment import color_jitter, mix, random_resized_crop
from mobilemod.training.config import Phase, TrainConfig, parse_phases
from mobilemod.training.device import resolve_precision
from mobilemod.training.images import Batches, Images
from mobilemod.training.run import make_config
from mobilemod.training.train import Trainer, learning_rate

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
    for split in ("train", "val"):
        for i, target in enumerate(images.targets):
            folder = tmp_path / split / f"class{target}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images.pixels[i]).save(folder / f"{i}.png")
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
