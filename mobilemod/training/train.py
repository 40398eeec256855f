"""The training loop: AdamW, warm-up and cosine, EMA; resumable at every epoch's end."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mobilemod.errors import UserError
from mobilemod.networks.registry import build, family_of, preprocess_of
from mobilemod.progress import progress
from mobilemod.training.augment import mix
from mobilemod.training.config import PRECISIONS, TrainConfig
from mobilemod.training.device import resolve_precision
from mobilemod.training.images import SOURCE_SIZE, Batches, Images, evaluate
from mobilemod.training.optimizer import cosine_rate, weight_groups
from mobilemod.training.state import load_state, require_same, save_state


def init_for_training(model: nn.Module, config: TrainConfig) -> None:
    """Start values that train in few epochs.

    Weights have the variance 1/fan-in, the head's a smaller one; biases are 0. What the
    family sets otherwise it sets afterwards, with layer scales at `gamma_init`.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            fan_in = module.weight[0].numel()
            nn.init.trunc_normal_(module.weight, std=fan_in**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    family = family_of(model)
    nn.init.trunc_normal_(model.get_submodule(family.head).weight, std=0.02)
    family.start(model, config.gamma_init)


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, 2019); no decay on biases, norms and scales."""
    groups = weight_groups(model.parameters(), config.weight_decay)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas)


def learning_rate(config: TrainConfig, epoch: float) -> float:
    """Linear warm-up, then cosine to `min_lr`."""
    return cosine_rate(epoch, config.warmup_epochs, config.epochs, config.lr, config.min_lr)


class Trainer:
    """One run in `out`: `fit` trains from the last finished epoch on."""

    def __init__(self, config: TrainConfig, train: Images, val: Images, out: Path, device: str):
        self._auto = config.precision == "auto"
        precision = resolve_precision(config.precision, device)
        self.config = config = dataclasses.replace(config, precision=precision)
        self.train, self.val, self.out, self.device = train, val, out, device
        self.batches = Batches(
            train, config.batch_size, config.seed, config, preprocess_of(config.model)
        )
        torch.manual_seed(config.seed)
        model = build(config.model, config.num_classes, config.drop_path)
        init_for_training(model, config)
        self.model = model.to(device)
        self.ema = copy.deepcopy(self.model).eval()
        self.optimizer = make_optimizer(self.model, config)
        self.history: list[dict] = []
        self.step = 0

    def resume(self) -> bool:
        """Continue from `out`'s state; `UserError` when it belongs to another recipe.

        Where the recipe leaves the precision open, the run goes on in the one that it began in.
        """
        state = load_state(self.out, self.device)
        if state is None:
            return False
        if self._auto and state["config"].get("precision") in PRECISIONS:
            precision = state["config"]["precision"]
            self.config = dataclasses.replace(self.config, precision=precision)
        require_same(state["config"], dataclasses.asdict(self.config), self.out)
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.history = state["step"], state["history"]
        return True

    def save(self) -> None:
        """Write the state that `resume` reads, and the history."""
        state = {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        save_state(self.out, dataclasses.asdict(self.config), self.history, state)

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
        steps, size = self.batches.per_epoch, config.size_at(epoch)
        mixing = epoch < config.epochs - config.plain_epochs
        rng = np.random.default_rng([config.seed, epoch, 1])
        total = 0.0
        # Stochastic depth draws from torch's generator: seeded here, a resumed run draws the same.
        torch.manual_seed(config.seed * 1_000_003 + epoch)
        self.model.train()
        batches = self.batches.epoch(epoch, size)
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
        # Statistics of batch norms are averages already.
        for target, source in zip(self.ema.buffers(), self.model.buffers(), strict=True):
            target.copy_(source)
