"""How close a device's answers are to those asked for, in words: of outputs, or of maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mobilemod.tasks.task import Task


@dataclass(frozen=True)
class Closeness:
    """Of a task whose answers are numbers; `closeness` gives a task's own."""

    task: Task

    @property
    def identical_head(self) -> str:
        """Of a column of images with the host's bits."""
        return f"{self.task.output} as on the host"

    @property
    def alike_head(self) -> str:
        """Of a column of percentages that are alike."""
        return "same answer %"

    def alike(self, host: dict[str, Any]) -> str:
        """What is alike of what a record's `host` holds, beside the images; "" for no more."""
        del host
        return ""

    def difference(self, test: dict[str, Any]) -> str:
        """A self-test's, in steps of an int8 output, else in dB; "" where it isn't known."""
        if test.get("steps") is not None:
            steps = test["steps"]
            return f"{steps:.0f} step{'s'[: round(steps) != 1]}"
        if test.get("sqnr_db") is not None:
            return f"{test['sqnr_db']:.0f} dB"
        error = test["pixels_error"]
        return "" if error is None else f"{error:.2g}"

    def within(self, test: dict[str, Any]) -> str:
        """A self-test's that is right, with its gate."""
        largest, limit = test["pixels_error"], test["tolerance"]
        return f"{self.task.output} within {largest:.2g} of the golden ones, gate {limit:.2g}"


class MapsCloseness(Closeness):
    """Of a task whose answers are maps of classes: in shares of their pixels."""

    @property
    def identical_head(self) -> str:
        return "identical maps"

    @property
    def alike_head(self) -> str:
        return self.task.agreement.head

    def alike(self, host: dict[str, Any]) -> str:
        return f", {host[self.task.agreement.key]:.2f} % of the pixels"

    def difference(self, test: dict[str, Any]) -> str:
        error = test["pixels_error"]
        return "" if error is None else _share(error)

    def within(self, test: dict[str, Any]) -> str:
        share = _share(test["pixels_error"])
        return f"{share} other than in the golden maps, gate {test['tolerance']:.2%}"


def closeness(task: Task) -> Closeness:
    """Of the task's answers."""
    return MapsCloseness(task) if task.maps else Closeness(task)


def _share(share: float) -> str:
    return f"{share:.2%} of the pixels"
