"""The reference form against the published network: names, shapes, logits."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
import torch

from mobilemod.networks.checkpoints import expected_shapes
from mobilemod.networks.efficientmod import VARIANTS, EfficientMod

TOLERANCE = 1e-4
GOLDEN = [
    (name, size) for name in ("efficientmod_xxs", "efficientmod_s") for size in (224, 192, 256)
]
PARAMETERS = {
    "efficientmod_xxs": 4_736_264,
    "efficientmod_xs": 6_627_544,
    "efficientmod_s": 12_897_184,
    "efficientmod_s_conv": 12_872_336,
}


@pytest.fixture(scope="module")
def network(golden_state):
    """`network(name)`: the reference form with the golden weights, built once per name."""

    @functools.cache
    def build(name: str) -> EfficientMod:
        model = EfficientMod(VARIANTS[name])
        model.load_state_dict(golden_state(name), strict=True)
        return model.eval()

    return build


@pytest.fixture(scope="module")
def golden(golden_dir):
    with np.load(golden_dir / "golden_logits.npz") as file:
        return dict(file)


@torch.no_grad()
def difference(model, x, expected) -> float:
    """Largest difference of any logit."""
    return float(np.abs(model(x).numpy() - expected).max())


@pytest.mark.parametrize("name,size", GOLDEN)
def test_golden_logits(network, name, size, golden, golden_input):
    expected = golden[f"{name}_{size}"]
    assert expected.shape == (2, 1000)
    assert difference(network(name), golden_input(size), expected) <= TOLERANCE


@pytest.mark.parametrize("change", ["eps", "gelu", "order of the repeat", "scale", "one weight"])
def test_golden_logits_catch_a_change(network, change, golden, golden_input, monkeypatch):
    """Negative controls: what an implementation gets wrong easily moves the logits."""
    model = network("efficientmod_xxs")
    if change == "eps":
        monkeypatch.setattr(model.layers[2].blocks[0].norm, "eps", 1e-3)
    elif change == "gelu":
        exact = torch.nn.functional.gelu
        monkeypatch.setattr(torch.nn.functional, "gelu", lambda x: exact(x, approximate="tanh"))
    elif change == "order of the repeat":
        monkeypatch.setattr(
            torch.Tensor, "repeat", lambda x, *n: torch.repeat_interleave(x, n[-1], dim=-1)
        )
    elif change == "scale":
        attend = torch.nn.functional.scaled_dot_product_attention
        monkeypatch.setattr(
            torch.nn.functional,
            "scaled_dot_product_attention",
            lambda q, k, v: attend(q, k, v, scale=1 / 8),
        )
    else:
        weight = model.layers[0].blocks[0].mlp.context_layer.context_list[0].weight
        with torch.no_grad():
            before = weight[0, 0, 3, 3].item()
            weight[0, 0, 3, 3] = before + 0.05
    try:
        found = difference(model, golden_input(192), golden["efficientmod_xxs_192"])
    finally:
        if change == "one weight":
            with torch.no_grad():
                weight[0, 0, 3, 3] = before
    assert found > TOLERANCE


@pytest.mark.parametrize("name", VARIANTS)
def test_names_and_shapes(name, golden_dir):
    published = json.loads((golden_dir / "state_dict_shapes.json").read_text())
    assert set(published) == set(VARIANTS)
    ours = {k: list(v) for k, v in expected_shapes(VARIANTS[name], 1000).items()}
    assert ours == published[name]
    assert sum(int(np.prod(shape)) for shape in ours.values()) == PARAMETERS[name]
