"""Whether a network's canonical form computes what the network does."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mobilemod.forms.canonical import Canonical, canonical_form
from mobilemod.forms.mobile_ops import COREML_FORM, XNNPACK_FORM
from tests.unit.forms.graphs import Lambda

IMAGE = (4, 8, 12)
LIMIT = 1e-5  # of the largest value of the output


@torch.no_grad()
def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    """`module` in eval mode with random weights and statistics; variances are positive."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.1, 0.7, generator=generator)
            if not name.endswith("running_var"):
                value *= torch.rand(value.shape, generator=generator).sub(0.4).sign()
    return module.eval()


class Pieces(nn.Module):
    """Functions of (layers, image), their results flat and side by side: captured at one go."""

    def __init__(self, functions: dict[str, Callable], layers: dict[str, nn.Module]):
        super().__init__()
        self.functions = functions
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([f(self, x).reshape(x.shape[0], -1) for f in self.functions.values()], 1)


@torch.no_grad()
def wrong(module: Pieces, canonical: Canonical) -> set[str]:
    """The functions that the graph, or what a runtime gets of it, computes otherwise."""
    found = set()
    forms = [canonical.form(options) for options in (XNNPACK_FORM, COREML_FORM)]
    for batch in (1, 3):
        x = torch.randn(
            batch, *canonical.image_shape, generator=torch.Generator().manual_seed(batch)
        )
        parts = {name: f(module, x.clone()) for name, f in module.functions.items()}
        sizes = [part[0].numel() for part in parts.values()]
        for run in (canonical.graph.run, *forms):
            for (name, part), own in zip(parts.items(), run(x).split(sizes, 1), strict=True):
                limit = LIMIT * float(part.abs().max()) + 1e-12
                if float((own.reshape(part.shape) - part).abs().max()) > limit:
                    found.add(name)
    return found


def assert_exact(
    functions: dict[str, Callable], shape: tuple[int, int, int] = IMAGE, **layers: nn.Module
) -> Canonical:
    """The canonical form of several functions in one module, each of which it computes."""
    module = shaken(Pieces(functions, layers))
    canonical = canonical_form(module, shape)
    assert wrong(module, canonical) == set()
    return canonical


def assert_exact_alone(
    function: Callable, shape: tuple[int, int, int] = IMAGE, **layers: nn.Module
) -> Canonical:
    """The canonical form of one function, whose result is the output as it is."""
    module = shaken(Lambda(function, **layers))
    canonical = canonical_form(module, shape)
    with torch.no_grad():
        for batch in (1, 3):
            x = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(batch))
            expected = module(x.clone())
            for run in (
                canonical.graph.run,
                canonical.form(XNNPACK_FORM),
                canonical.form(COREML_FORM),
            ):
                limit = LIMIT * float(expected.abs().max()) + 1e-12
                torch.testing.assert_close(run(x), expected, rtol=0, atol=limit)
    return canonical


def kinds(canonical: Canonical) -> list[str]:
    """Its ops in order, without the input."""
    return [getattr(n.op, "kind", type(n.op).__name__) for n in canonical.graph.nodes[1:]]
