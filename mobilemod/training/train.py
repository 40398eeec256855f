"""The training loop: AdamW, warm-up and cosine, EMA; resumable at every epoch's end."""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilemod.data.imagefolder import Damage, ImageFolder, iter_pixels
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.files import atomic_path
from mobilemod.models.efficientmod import EfficientMod, get_variant
from mobilemod.progress import progress
from mobilemod.training.augment import augment, mix, to_batch
from mobilemod.training.config import TrainConfig

STATE_FILE = "training_state.pt"
HISTORY_FILE = "history.json"
SOURCE_SIZE = 224
PREFETCH_BATCHES = 4


@dataclass(frozen=True)
class Images:
    """A decoded set: uint8 (N, 224, 224, 3) and int64 (N,)."""

    pixels: np.ndarray
    targets: np.ndarray


def load_images(folder: ImageFolder, label: str) -> Images:
    """Decode the folder once; damaged images are left out."""
    preprocess = Preprocess(size=SOURCE_SIZE, crop_fraction=1.0)
    damage = Damage(len(folder.samples))
    pixels, kept = [], []
    for i, image in progress(
        iter_pixels(folder, preprocess, damage), label, len(folder.samples), "img"
    ):
        pixels.append(image)
        kept.append(i)
    return Images(np.stack(pixels), folder.targets[kept])


def init_for_training(model: EfficientMod, config: TrainConfig) -> None:
    """Start values that train in few epochs.

    Weights have the variance 1/fan-in, the context's last bias is 1 so that a modulation block
    begins as its value branch, and `gamma_1` begins at `gamma_init`.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            fan_in = module.weight[0].numel()
            nn.init.trunc_normal_(module.weight, std=fan_in**-0.5)
            if module.bias is not None:
                nn.init.constant_(module.bias, 1.0 if name.endswith("context_layer.g") else 0.0)
    nn.init.trunc_normal_(model.head.weight, std=0.02)
    for name, parameter in model.named_parameters():
        if name.endswith("gamma_1"):
            nn.init.constant_(parameter, config.gamma_init)


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, 2019); no decay on biases, norms and scales."""
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": decay, "weight_decay": config.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas)


def learning_rate(config: TrainConfig, epoch: float) -> float:
    """Linear warm-up, then cosine to `min_lr` (Loshchilov and Hutter, 2017)."""
    if epoch < config.warmup_epochs:
        return config.lr * max(epoch, 1e-3) / config.warmup_epochs
    done = (epoch - config.warmup_epochs) / max(1e-9, config.epochs - config.warmup_epochs)
    return config.min_lr + (config.lr - config.min_lr) * 0.5 * (
        1 + math.cos(math.pi * min(1, done))
    )


@torch.no_grad()
def evaluate(model: nn.Module, images: Images, size: int, device: str = "cpu") -> float:
    """Top-1 in percent at `size` pixels, under the published preprocessing."""
    from PIL import Image

    preprocess = Preprocess(size=size)
    model.eval()
    right = 0
    for start in range(0, len(images.targets), 64):
        pixels = images.pixels[start : start + 64]
        x = np.stack([preprocess(Image.fromarray(p)) for p in pixels])
        x = torch.from_numpy(x).to(device, memory_format=torch.channels_last)
        predicted = model(x).argmax(1).cpu().numpy()
        right += int((predicted == images.targets[start : start + 64]).sum())
    return 100.0 * right / len(images.targets)


class Trainer:
    """One run in `out`: `fit` trains from the last finished epoch on."""

    def __init__(self, config: TrainConfig, train: Images, val: Images, out: Path, device: str):
        self.config, self.train, self.val, self.out, self.device = config, train, val, out, device
        torch.manual_seed(config.seed)
        model = EfficientMod(get_variant(config.model), config.num_classes, config.drop_path)
        init_for_training(model, config)
        self.model = model.to(device)
        self.ema = copy.deepcopy(self.model).eval()
        self.optimizer = make_optimizer(self.model, config)
        self.history: list[dict] = []
        self.step = 0

    def resume(self) -> bool:
        """Continue from `out`'s state; `UserError` when it belongs to another recipe."""
        path = self.out / STATE_FILE
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        saved = json.loads(state["config"])
        if saved != json.loads(json.dumps(self.config.to_dict())):
            changed = sorted(
                k for k in saved if saved[k] != json.loads(json.dumps(self.config.to_dict())).get(k)
            )
            raise UserError(
                f"{path} is of another recipe ({', '.join(changed)} differ); "
                "give another --out, or delete the folder to start again"
            )
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.history = json.loads(state["history"])
        return True

    def save(self) -> None:
        """Write the state that `resume` reads, and the history, each in one rename."""
        state = {
            "config": json.dumps(self.config.to_dict()),
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "history": json.dumps(self.history),
        }
        with atomic_path(self.out / STATE_FILE) as path:
            torch.save(state, path)
        with atomic_path(self.out / HISTORY_FILE) as path:
            path.write_text(json.dumps(self.history, indent=1))

    def fit(self, on_epoch: Callable[[list[dict]], None] = lambda history: None) -> None:
        """Train to the recipe's last epoch, saving after each."""
        for epoch in range(len(self.history), self.config.epochs):
            loss = self._epoch(epoch)
            last = epoch + 1 == self.config.epochs
            size = SOURCE_SIZE if last else self.config.size_at(epoch)
            top1 = evaluate(self.ema, self.val, size, self.device)
            self.history.append(
                {
                    "epoch": epoch + 1,
                    "size": self.config.size_at(epoch),
                    "loss": round(loss, 4),
                    "val_size": size,
                    "val_top1": round(top1, 2),
                }
            )
            self.save()
            on_epoch(self.history)

    def _epoch(self, epoch: int) -> float:
        config = self.config
        steps = len(self.train.targets) // config.batch_size
        size = config.size_at(epoch)
        mixing = epoch < config.epochs - config.plain_epochs
        rng = np.random.default_rng([config.seed, epoch, 1])
        total = 0.0
        # Stochastic depth draws from torch's generator: seeded here, a resumed run draws the same.
        torch.manual_seed(config.seed * 1_000_003 + epoch)
        self.model.train()
        batches = self._batches(epoch, size, steps)
        label = f"epoch {epoch + 1}/{config.epochs} at {size}"
        for i, (x, y) in enumerate(progress(batches, label, steps, "step")):
            lr = learning_rate(config, epoch + i / steps)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            x, y = x.to(self.device), y.to(self.device)
            x, a, b, lam = mix(x, y, config, rng) if mixing else (x, y, y, 1.0)
            with torch.autocast(
                torch.device(self.device).type, torch.bfloat16, enabled=config.precision == "bf16"
            ):
                logits = self.model(x).float()
            loss = lam * F.cross_entropy(logits, a, label_smoothing=config.label_smoothing)
            if lam < 1:
                loss = loss + (1 - lam) * F.cross_entropy(
                    logits, b, label_smoothing=config.label_smoothing
                )
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
            self.optimizer.step()
            self.step += 1
            self._update_ema()
            total += float(loss.detach())
            if not math.isfinite(total):
                raise UserError(f"the loss is not finite at epoch {epoch + 1}; lower --lr")
        return total / steps

    @torch.no_grad()
    def _update_ema(self) -> None:
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        targets, sources = list(self.ema.parameters()), list(self.model.parameters())
        torch._foreach_lerp_(targets, sources, 1 - decay)

    def _batches(self, epoch: int, size: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        config = self.config
        order = np.random.default_rng([config.seed, epoch, 0]).permutation(len(self.train.targets))
        stats = Preprocess()
        mean, std = np.float32(stats.mean), np.float32(stats.std)

        def make(i: int) -> tuple[Tensor, Tensor]:
            chosen = order[i * config.batch_size : (i + 1) * config.batch_size]
            rng = np.random.default_rng([config.seed, epoch, 2, i])
            images = [augment(self.train.pixels[j], size, config, rng) for j in chosen]
            return to_batch(images, mean, std), torch.from_numpy(self.train.targets[chosen])

        workers = max(1, min(8, (os.cpu_count() or 2) - 1))
        with ThreadPoolExecutor(workers) as pool:
            pending = [pool.submit(make, i) for i in range(min(steps, PREFETCH_BATCHES))]
            for i in range(steps):
                yield pending.pop(0).result()
                if i + PREFETCH_BATCHES < steps:
                    pending.append(pool.submit(make, i + PREFETCH_BATCHES))
