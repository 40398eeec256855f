"""The training loop: AdamW, warm-up and cosine, EMA; resumable at every step that was saved."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mobilemod.errors import UserError
from mobilemod.machine.sharing import wait_while_measuring
from mobilemod.networks.registry import build, family_of, preprocess_of
from mobilemod.progress import progress
from mobilemod.training.config import PRECISIONS, RunConfig
from mobilemod.training.device import resolve_precision
from mobilemod.training.images import Batches, ImageSet, predict
from mobilemod.training.learner import At
from mobilemod.training.learners import learner_of
from mobilemod.training.optimizer import cosine_rate, weight_groups
from mobilemod.training.processes import Processes
from mobilemod.training.state import load_state, require_same, save_state

SAVE_SECONDS = 300.0
ALONE = Processes()


def init_for_training(model: nn.Module, config: RunConfig) -> None:
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


def make_optimizer(model: nn.Module, config: RunConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, 2019); no decay on biases, norms and scales."""
    groups = weight_groups(model.parameters(), config.weight_decay)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas)


def learning_rate(config: RunConfig, epoch: float) -> float:
    """Linear warm-up, then cosine to `min_lr`."""
    return cosine_rate(epoch, config.warmup_epochs, config.epochs, config.lr, config.min_lr)


def split(images: ImageSet, share: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """(trained on, selected): `share` of the images, at least one, chosen by the seed.

    `UserError` where none is left to train on.
    """
    trained, selected = held_back(len(images), share, seed)
    return images.subset(trained), images.subset(selected)


def held_back(total: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The same of `total` images by their indices, sorted."""
    count = max(1, int(total * share))
    if count >= total:
        raise UserError(f"{total} training images are too few to hold some back")
    order = np.random.default_rng([seed, 2]).permutation(total)
    return np.sort(order[count:]), np.sort(order[:count])


class Trainer:
    """One run in `out`: `fit` trains from the last saved step on.

    selected: the images on which the course is measured. classes: their names.
    """

    def __init__(
        self,
        config: RunConfig,
        train: ImageSet,
        selected: ImageSet,
        out: Path,
        device: str,
        classes: Sequence[str] = (),
        processes: Processes = ALONE,
    ):
        self.learner = learner_of(config.model)
        self._auto = config.precision == "auto"
        precision = resolve_precision(config.precision, device)
        self.config = config = dataclasses.replace(config, precision=precision)
        self.train, self.selected, self.out, self.device = train, selected, out, device
        self.processes = processes
        processes.require_even(config.batch_size)
        self.batches = Batches(
            train, config.batch_size, config.seed, config, preprocess_of(config.model),
            processes.share,
        )  # fmt: skip
        torch.manual_seed(config.seed)
        model = build(config.model, config.num_classes, config.drop_path)
        init_for_training(model, config)
        first = self.batches.epoch(0, config.size_at(0))
        self.origin = self.learner.start(model, config, lambda: next(first)[0], classes)
        if config.frozen:
            for parameter in self.learner.backbone(model):
                parameter.requires_grad_(False)
        self.model = model.to(device)
        self.ema = copy.deepcopy(self.model).eval()
        self.optimizer = make_optimizer(self.model, config)
        teacher = self.learner.teacher(config)
        self.teacher = None if teacher is None else teacher.to(device).eval()
        self.history: list[dict] = []
        self.step, self.loss, self._saved = 0, 0.0, time.monotonic()

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
        self.step, self.loss, self.history = state["step"], state["loss"], state["history"]
        return True

    def save(self) -> None:
        """Write the state that `resume` reads, and the history."""
        self._saved = time.monotonic()
        if not self.processes.first:
            return
        state = {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "loss": self.loss,
        }
        save_state(self.out, dataclasses.asdict(self.config), self.history, state)

    @property
    def key(self) -> str:
        """The history's key of the task's metric on the selected images."""
        return f"selected_{self.learner.task.metric.key.removesuffix('_percent')}"

    def figures(self, images: ImageSet, size: int) -> dict[str, float]:
        """The task's figures of the EMA weights on images, at `size` pixels."""
        task, preprocess = self.learner.task, preprocess_of(self.config.model, size)
        kept, targets = [], []
        for pixels, right in images.measured(preprocess):
            outputs = predict(self.ema.eval(), [pixels], preprocess, self.device)
            kept.append(task.keep(outputs, self.config.num_classes))
            targets.append(right)
        return task.figures(np.concatenate(kept), np.concatenate(targets))

    def fit(self, on_epoch: Callable[[list[dict]], None] = lambda history: None) -> None:
        """Train to the recipe's last epoch, saving after each and every `SAVE_SECONDS`."""
        model = self.processes.averaged(self.model)
        for epoch in range(len(self.history), self.config.epochs):
            self._epoch(model, epoch)
            last = epoch + 1 == self.config.epochs
            size = self.learner.final_size(self.config) if last else self.config.size_at(epoch)
            entry = {
                "epoch": epoch + 1,
                "size": self.config.size_at(epoch),
                "loss": round(self.loss / self.batches.per_epoch, 4),
                "measured_size": size,
            }
            if self.processes.first:
                figures = self.figures(self.selected, size)
                entry[self.key] = round(figures[self.learner.task.metric.key], 2)
            self.history.append(entry)
            self.loss = 0.0
            self.save()
            if self.processes.first:
                on_epoch(self.history)

    def _epoch(self, model: nn.Module, epoch: int) -> None:
        config, steps = self.config, self.batches.per_epoch
        first = self.step - epoch * steps
        self.model.train()
        batches = self.batches.epoch(epoch, config.size_at(epoch), first)
        label = f"epoch {epoch + 1}/{config.epochs} at {config.size_at(epoch)}"
        if self.processes.first:
            batches = progress(batches, label, steps - first, "step")
        for x, y in batches:
            wait_while_measuring()
            self._step(model, x.to(self.device), y.to(self.device), epoch)
            if time.monotonic() - self._saved > SAVE_SECONDS:
                self.save()

    def _step(self, model: nn.Module, x: Tensor, y: Tensor, epoch: int) -> None:
        config, i = self.config, self.step - epoch * self.batches.per_epoch
        lr = learning_rate(config, self.step / self.batches.per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        # Stochastic depth draws from torch's generator; seeded here, a resumed run draws the same.
        torch.manual_seed(config.seed * 1_000_003 + self.step)
        rng = np.random.default_rng([config.seed, epoch, 1, i])
        at = At(epoch, rng, self.teacher and self._taught)
        loss = self.learner.loss(lambda batch: self._forward(model, batch), x, y, config, at)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.optimizer.step()
        self.step += 1
        self._update_ema()
        self.loss += self.processes.mean(float(loss.detach()))
        if not math.isfinite(self.loss):
            raise UserError(f"the loss is not finite at epoch {epoch + 1}; lower --lr")

    @torch.no_grad()
    def _taught(self, x: Tensor) -> Tensor:
        return self._forward(self.teacher, x)

    def _forward(self, model: nn.Module, x: Tensor) -> Tensor:
        low = self.config.precision == "bf16"
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=low):
            return model(x).float()

    @torch.no_grad()
    def _update_ema(self) -> None:
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        targets, sources = list(self.ema.parameters()), list(self.model.parameters())
        torch._foreach_lerp_(targets, sources, 1 - decay)
        # Statistics of batch norms are averages already.
        for target, source in zip(self.ema.buffers(), self.model.buffers(), strict=True):
            target.copy_(source)
