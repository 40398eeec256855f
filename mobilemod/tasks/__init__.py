"""What a network is for: its outputs, targets, metric, drop, agreement, and how they are shown.

A module or package here is a task: its name is the task's, its `TASK` a `task.Task`. They are
found by listing this folder. May import `mobilemod.data` and `mobilemod.evaluation`, and
within functions `mobilemod.results`; NumPy, no framework.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mobilemod.errors import unknown

if TYPE_CHECKING:
    from mobilemod.tasks.task import Task

# The task of a bundle or record that names none.
DEFAULT = "classification"


def task_names() -> tuple[str, ...]:
    """The names of all tasks, sorted."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "task"))


def get_task(name: str) -> Task:
    """The task of that name; the `UserError` otherwise lists the known ones.

    TypeError where its module has no `TASK`.
    """
    from mobilemod.tasks.task import Task

    if name not in task_names():
        raise unknown("task", name, task_names())
    task = getattr(importlib.import_module(f"{__name__}.{name}"), "TASK", None)
    if not isinstance(task, Task) or task.name != name:
        raise TypeError(f"{__name__}.{name} has no TASK of that name")
    return task


def task_of(values: Mapping[str, Any]) -> Task:
    """The task that a manifest or record is of, by its field `task`; raises as `get_task`."""
    return get_task(values.get("task", DEFAULT))


def task_field(name: str) -> dict[str, str]:
    """The field `task` of a manifest or record; nothing for the one that goes without saying."""
    return {} if name == DEFAULT else {"task": name}
