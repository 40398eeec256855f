"""What training is of each task: a module has its task's name, its `LEARNER` is a `Learner`."""

from __future__ import annotations

import importlib
import pkgutil

from mobilemod.errors import UserError
from mobilemod.networks.registry import family_of
from mobilemod.training.learner import Learner


def learner_of(model: str) -> Learner:
    """Of the task that a network is for; `UserError` for one that can't be trained."""
    task = family_of(model).task
    known = sorted(m.name for m in pkgutil.iter_modules(__path__))
    if task not in known:
        raise UserError(f"{model} is for {task}; train makes networks for {' and '.join(known)}")
    return importlib.import_module(f"{__name__}.{task}").LEARNER
