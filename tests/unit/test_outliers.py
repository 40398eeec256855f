"""Planted outlier channels: the same function, and channels that stand out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.routes.minmax import MinMaxNetwork, observe_ranges
from mobilemod.data.testcard import draw_card
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.networks.checkpoints import load_checkpoint
from mobilemod.networks.efficientmod import EfficientMod
from mobilemod.networks.outliers import Planted, plant_outliers
from mobilemod.networks.registry import get_variant
from mobilemod.networks.synthetic import trained_like_state


def network(variant, state, classes=10) -> EfficientMod:
    model = EfficientMod(variant, classes)
    model.load_state_dict(state, strict=True)
    return model.eval()


@pytest.fixture(scope="module")
def state(narrow_variant):
    return trained_like_state(narrow_variant, 10)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """float32 (2, 3, 64, 64), of a photo's range."""
    rng = np.random.default_rng(3)
    return torch.from_numpy(rng.standard_normal((2, 3, 64, 64)).astype(np.float32))


@torch.no_grad()
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_function_stays(narrow_variant, narrow_model, state, images, seed):
    changed, planted = plant_outliers(state, narrow_variant, seed)
    assert planted and changed.keys() == state.keys()
    expected = narrow_model(images)
    found = network(narrow_variant, changed)(images)
    assert float((found - expected).abs().max()) <= 1e-4
    assert not torch.equal(found, expected)


@torch.no_grad()
def test_bundled_network_stays(data_dir):
    """The real weights on a real size, to the limit that an export holds forms to."""
    from export.source import bundled_checkpoint
    from mobilemod.data.preprocess import Preprocess

    loaded = load_checkpoint(bundled_checkpoint("efficientmod_xxs"))
    variant = get_variant(loaded.variant)
    changed, planted = plant_outliers(loaded.state, variant)
    x = torch.from_numpy(Preprocess().normalize(draw_card(224)[None]))
    expected = network(variant, loaded.state, loaded.num_classes)(x)
    found = network(variant, changed, loaded.num_classes)(x)
    assert float((found - expected).abs().max()) <= 1e-4
    # A norm and a modulation in each of 12 modulation blocks, two norms in each of 3 others.
    assert len(planted) == 12 * 2 + 3 * 2


@torch.no_grad()
@pytest.mark.parametrize("seed", [None, 0])
def test_planted_channels_stand_out(narrow_variant, narrow_model, state, images, seed):
    """At every named module, in every block, that channel alone is that much larger."""
    changed, planted = plant_outliers(state, narrow_variant, seed)
    taps: dict[str, list[torch.Tensor]] = {p.module: [] for p in planted}
    for model in (narrow_model, network(narrow_variant, changed)):
        handles = [
            model.get_submodule(name).register_forward_hook(
                lambda _, args, y, name=name: taps[name].append(y)
            )
            for name in taps
        ]
        model(images)
        for handle in handles:
            handle.remove()
    for p in planted:
        before, now = (y.flatten(0, -2) for y in taps[p.module])
        expected = before.clone()
        expected[:, p.channel] *= p.factor
        assert torch.allclose(now, expected, rtol=1e-3, atol=1e-3), p
    blocks = {p.module.split(".mlp")[0].rsplit(".norm")[0] for p in planted}
    assert blocks == {
        f"layers.{s}.blocks.{i}"
        for s, (m, a) in enumerate(
            zip(narrow_variant.blocks, narrow_variant.attention_blocks, strict=True)
        )
        for i in range(m + a)
    }
    assert {p.factor for p in planted if p.module.endswith(".g")} == {20.0}
    assert {p.factor for p in planted if not p.module.endswith(".g")} == {30.0}


@torch.no_grad()
def test_without_a_seed_it_is_the_largest_channel(narrow_variant, narrow_model, state):
    """Of what comes out for inputs of zero mean and unit variance, measured on 8,000 of them."""
    _, planted = plant_outliers(state, narrow_variant)
    torch.manual_seed(0)
    for p in planted:
        module = narrow_model.get_submodule(p.module)
        size = module(torch.randn(8000, len(module.bias))).square().mean(0)
        assert float(size[p.channel] / size.max()) > 0.95, p


def test_seed_decides_the_channels(narrow_variant, state):
    first, again, other = (plant_outliers(state, narrow_variant, s)[1] for s in (0, 0, 1))
    assert first == again != other
    assert plant_outliers(state, narrow_variant)[1] not in (first, other)
    assert plant_outliers(state, narrow_variant, 0, 2.0, 3.0)[1] == [
        Planted(p.module, p.channel, 3.0 if p.module.endswith(".g") else 2.0) for p in first
    ]


def test_state_given_is_untouched(narrow_variant, state):
    before = {k: v.clone() for k, v in state.items()}
    plant_outliers(state, narrow_variant)
    assert all(torch.equal(before[k], v) for k, v in state.items())


@torch.no_grad()
def test_per_tensor_minmax_suffers(narrow_variant, state, images):
    """What the outliers are for: one scale a tensor loses most of its accuracy on them."""
    variant = replace(narrow_variant, attention_blocks=(0, 0, 0, 0))
    state = trained_like_state(variant, 10)
    changed = plant_outliers(state, variant)[0]
    quality = []
    for weights in (state, changed):
        model = network(variant, weights)
        quantized = MinMaxNetwork(model, observe_ranges(model, [images]))
        quality.append(sqnr_db(model(images).numpy(), quantized(images).numpy()))
    assert quality[0] > quality[1] + 10
