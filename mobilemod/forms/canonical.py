"""The canonical form of any network, and the forms that runtimes get of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from mobilemod.forms.capture import capture
from mobilemod.forms.form import Form
from mobilemod.forms.graph import Graph
from mobilemod.forms.layout.builder import BATCH
from mobilemod.forms.layout.translate import known_ops, translate
from mobilemod.forms.mobile_ops import FormOptions
from mobilemod.forms.naming import assign_names
from mobilemod.forms.rewrites import rewrite


@dataclass(frozen=True)
class Canonical:
    """A network rewritten channels-first, its scales and shifts folded, every tensor named.

    rewrites: what was done -> how often. left: a line for each op that was left as it was.
    """

    graph: Graph
    rewrites: dict[str, int]
    left: tuple[str, ...]

    def form(self, options: FormOptions) -> Form:
        """What a runtime with these options gets; its weights are its own."""
        return Form(self.graph, options).eval()


@torch.no_grad()
def canonical_form(module: nn.Module, shape: tuple[int, int, int]) -> Canonical:
    """The canonical form of `module`, in eval mode, for float images (B, *shape).

    `UserError` in one line where it can't be exported.
    """
    graph, left = translate(capture(module, (BATCH, *shape), known_ops()))
    counts = rewrite(graph)
    assign_names(graph)
    return Canonical(graph, counts, tuple(left))
