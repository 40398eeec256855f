"""The canonical form of any network, and the forms that runtimes get of it."""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mobilemod.forms import stored
from mobilemod.forms.capture import capture
from mobilemod.forms.form import Form
from mobilemod.forms.graph import Graph
from mobilemod.forms.layout.builder import BATCH
from mobilemod.forms.layout.translate import known_ops, translate
from mobilemod.forms.mobile_ops import FormOptions
from mobilemod.forms.naming import assign_names
from mobilemod.forms.order_of_heads import turn_heads
from mobilemod.forms.rewrites import rewrite


@dataclass(frozen=True)
class Canonical:
    """A network rewritten channels-first, its scales and shifts folded, every tensor named.

    rewrites: what was done -> how often. left: a line for each op that was left as it was.
    """

    graph: Graph
    rewrites: dict[str, int] = field(default_factory=dict)
    left: tuple[str, ...] = ()

    def form(self, options: FormOptions) -> Form:
        """What a runtime with these options gets; its weights are its own."""
        graph = copy.deepcopy(self.graph)
        if not options.channels_last:
            turn_heads(graph)
        return Form(graph, options).eval()

    def state(self) -> dict[str, Tensor]:
        """The weights by name: a convolution's `module.weight` and `.bias`, constants by tensor."""
        return stored.weights_of(self.graph)

    def with_state(self, state: Mapping[str, Tensor]) -> Canonical:
        """The same form with other weights, which may include biases that this one lacks."""
        graph = stored.from_dict(stored.to_dict(self.graph), state)
        return dataclasses.replace(self, graph=graph)

    def to_dict(self) -> dict[str, Any]:
        """All but the weights, as JSON-ready values."""
        return {**stored.to_dict(self.graph), "rewrites": self.rewrites, "left": list(self.left)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], state: Mapping[str, Tensor]) -> Canonical:
        """From `to_dict`'s form; `UserError` where it is none, or of other weights."""
        graph = stored.from_dict(values, state)
        return cls(graph, dict(values.get("rewrites", {})), tuple(values.get("left", ())))

    @functools.cached_property
    def structure(self) -> str:
        """sha256 of all but the weights."""
        return hashlib.sha256(json.dumps(stored.to_dict(self.graph)).encode()).hexdigest()

    @property
    def modules(self) -> list[str]:
        """The paths of the network's modules, parents before children, in the order they run."""
        found: dict[str, None] = {}
        for node in self.graph.nodes:
            parts = (node.path or "network").split(".")
            found.update(dict.fromkeys(".".join(parts[: i + 1]) for i in range(len(parts))))
        return list(found)

    @property
    def output(self) -> str:
        """The tensor that holds the network's output."""
        last = self.graph.output
        return (last.source or last).tensor

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of the input."""
        return tuple(self.graph.input.shape[1:])

    @property
    def num_classes(self) -> int:
        """How many values the output has, of maps at each of their places."""
        return self.graph.output.shape[1]

    @property
    def map(self) -> tuple[int, ...] | None:
        """Height and width of an output of maps, (B, K, height, width); else None."""
        return tuple(self.graph.output.shape[2:]) or None


@torch.no_grad()
def canonical_form(module: nn.Module, shape: tuple[int, int, int]) -> Canonical:
    """The canonical form of `module`, in eval mode, for float images (B, *shape).

    `UserError` in one line where it can't be exported.
    """
    graph, left = translate(capture(module, (BATCH, *shape), known_ops()))
    counts = rewrite(graph)
    assign_names(graph)
    return Canonical(graph, counts, tuple(left))
