"""Published weights of a mobile form: building its form again gives the same weights."""

from __future__ import annotations

import pytest
import torch

from mobilemod.forms.mobile import build_mobile, published_state
from mobilemod.forms.mobile_ops import COREML_FORM, XNNPACK_FORM
from mobilemod.networks.registry import get_variant, network
from mobilemod.networks.synthetic import trained_like_state


@pytest.mark.parametrize("options", [XNNPACK_FORM, COREML_FORM], ids=["xnnpack", "coreml"])
def test_building_the_form_again_gives_its_weights(options):
    state = trained_like_state(get_variant("efficientmod_xxs"), 10)
    form = build_mobile(network("efficientmod_xxs", 10, state), options)
    back = published_state(form)
    again = build_mobile(network("efficientmod_xxs", 10, back), options)
    for (name, a), b in zip(form.named_parameters(), again.parameters(), strict=True):
        exact = ".qkv.0." not in name
        assert torch.equal(a, b) if exact else torch.allclose(a, b, rtol=3e-7, atol=0), name
    assert torch.equal(back["norm.weight"], torch.ones(256))
    assert not torch.equal(back["patch_embed.norm.weight"], torch.ones(32))


def test_the_published_network_of_it_is_the_same_function():
    state = trained_like_state(get_variant("efficientmod_xxs"), 10)
    model = network("efficientmod_xxs", 10, state)
    other = network("efficientmod_xxs", 10, published_state(build_mobile(model, XNNPACK_FORM)))
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(model(x), other(x), atol=1e-4)
    assert other.get_submodule("layers.3.blocks.2.attn.qkv").bias is not None


def test_unknown_parameters_are_refused():
    state = trained_like_state(get_variant("efficientmod_xxs"), 10)
    with pytest.raises(RuntimeError, match="nothing.bias"):
        network("efficientmod_xxs", 10, {**state, "nothing.bias": torch.zeros(1)})
