"""The loop of quantization-aware training: distilled from the float network, resumable."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilemod.errors import UserError
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.networks.registry import preprocess_of
from mobilemod.progress import progress
from mobilemod.tasks.classification import TASK
from mobilemod.training.distillation import divergence
from mobilemod.training.images import EVALUATION_BATCH, Batches, Images, predict
from mobilemod.training.optimizer import cosine_rate, weight_groups
from mobilemod.training.state import load_state, require_same, save_state
from quantization.qat.config import QatConfig
from quantization.qat.network import QatProgram


class Losses(NamedTuple):
    """Of one batch: what is minimized, and its two parts."""

    loss: Tensor
    divergence: Tensor
    cross_entropy: Tensor


def losses(logits: Tensor, teacher: Tensor, targets: Tensor, config: QatConfig) -> Losses:
    """Distillation from the float network, see `divergence`."""
    from_teacher = divergence(logits, teacher, config.temperature)
    cross_entropy = F.cross_entropy(logits, targets)
    share = config.distillation
    return Losses(share * from_teacher + (1 - share) * cross_entropy, from_teacher, cross_entropy)


def make_optimizer(program: QatProgram, config: QatConfig) -> torch.optim.AdamW:
    """AdamW over the weights and the ranges; the ranges are the last group."""
    weights = [p for p in program.form.parameters() if p.requires_grad]
    groups = [{**g, "peak": config.lr} for g in weight_groups(weights, config.weight_decay)]
    ranges = list(program.ranges.parameters())
    groups.append({"params": ranges, "weight_decay": 0.0, "peak": config.range_lr})
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas)


class QatTrainer:
    """One run in `out`: `fit` trains from the last saved step on.

    teacher: the float network. origin: what else decides the run (network, images, recipe), as
    JSON-ready values; a saved run of another origin isn't gone on with.
    """

    def __init__(
        self,
        program: QatProgram,
        teacher: nn.Module,
        config: QatConfig,
        train: Images,
        val: Images,
        out: Path,
        device: str,
        origin: dict[str, Any],
    ):
        self.program, self.teacher = program.to(device).eval(), teacher.to(device).eval()
        self.config, self.val, self.out, self.device = config, val, out, device
        self.identity = {**dataclasses.asdict(config), **origin}
        self.preprocess = preprocess_of(teacher, config.size)
        self.batches = Batches(train, config.batch_size, config.seed, config, self.preprocess)
        self.optimizer = make_optimizer(program, config)
        self.history: list[dict[str, Any]] = []
        self.reference: np.ndarray | None = None
        self.sums = torch.zeros(len(Losses._fields), dtype=torch.float64)
        self.counted = 0
        self.step, self.seconds = 0, 0.0

    def resume(self) -> bool:
        """Continue from `out`'s state; `UserError` when it belongs to another run."""
        state = load_state(self.out, self.device)
        if state is None:
            return False
        require_same(state["config"], self.identity, self.out)
        self.program.form.load_state_dict(state["form"])
        self.program.ranges.load_state_dict(state["ranges"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.sums, self.counted = state["sums"].cpu(), state["counted"]
        self.step, self.seconds = state["step"], state["seconds"]
        self.history = state["history"]
        return True

    def save(self) -> None:
        """Write the state that `resume` reads, and the history."""
        state = {
            "form": self.program.form.state_dict(),
            "ranges": self.program.ranges.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "sums": self.sums,
            "counted": self.counted,
            "step": self.step,
            "seconds": self.seconds,
        }
        save_state(self.out, self.identity, self.history, state)

    def fit(self, on_record: Callable[[list[dict]], None] = lambda history: None) -> None:
        """Train to the last step, saving every `save_every` steps and after every evaluation."""
        config = self.config
        if not self.history:
            self._record(on_record)
        for x, y in progress(self._remaining(), "training", config.steps - self.step, "step"):
            self._train(x.to(self.device), y.to(self.device))
            last = self.step == config.steps
            if last or self.step % config.eval_every == 0:
                self._record(on_record)
            elif self.step % config.save_every == 0:
                self.save()

    def _remaining(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(images, targets) of every step that is left."""
        per_epoch = self.batches.per_epoch
        while self.step < self.config.steps:
            epoch, first = divmod(self.step, per_epoch)
            left = self.config.steps - self.step
            batches = self.batches.epoch(epoch, self.config.size, first)
            for batch, _ in zip(batches, range(left), strict=False):
                yield batch

    def _train(self, x: Tensor, y: Tensor) -> None:
        config, start = self.config, time.monotonic()
        for group in self.optimizer.param_groups:
            group["lr"] = cosine_rate(
                self.step + 1, config.warmup_steps, config.steps + 1, group["peak"], 0.0
            )
        with torch.no_grad():
            teacher = self.teacher(x)
        found = losses(self.program(x), teacher, y, config)
        self.optimizer.zero_grad(set_to_none=True)
        found.loss.backward()
        nn.utils.clip_grad_norm_(self.program.form.parameters(), config.clip_norm)
        self.optimizer.step()
        values = torch.stack([loss.detach() for loss in found])
        if not torch.isfinite(values).all():
            raise UserError(f"the loss is not finite at step {self.step + 1}; lower --lr")
        self.sums += values.double().cpu()
        self.counted += 1
        self.step += 1
        self.seconds += time.monotonic() - start

    def _record(self, on_record: Callable[[list[dict]], None]) -> None:
        """Measure on the validation images, add to the history, and save."""
        mean = (self.sums / max(1, self.counted)).tolist()
        entry = {"step": self.step}
        for name, value in zip(Losses._fields, mean, strict=True):
            entry[name] = round(value, 6) if self.counted else None
        self.history.append({**entry, **self._measure()})
        self.sums, self.counted = torch.zeros_like(self.sums), 0
        self.save()
        on_record(self.history)

    def _measure(self) -> dict[str, float]:
        logits, targets = self._predict(self.program), self.val.targets
        if self.reference is None:
            self.reference = self._predict(self.teacher)
        return {
            "val_top1": round(TASK.figure(TASK.scored(logits, targets)), 2),
            "float_top1": round(TASK.figure(TASK.scored(self.reference, targets)), 2),
            "agreement": round(TASK.agreement_percent(self.reference, logits), 2),
            "sqnr_db": round(sqnr_db(self.reference, logits), 2),
        }

    def _predict(self, model: nn.Module) -> np.ndarray:
        pixels = self.val.pixels
        starts = range(0, len(pixels), EVALUATION_BATCH)
        batches = (pixels[start : start + EVALUATION_BATCH] for start in starts)
        return predict(model, batches, self.preprocess, self.device)
