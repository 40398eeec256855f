"""The mobile form computes the reference form's function, for every variant, size and runtime."""

from __future__ import annotations

import pytest
import torch

from mobilemod.forms.mobile import build_mobile
from mobilemod.forms.mobile_ops import COREML_FORM, XNNPACK_FORM, NamedConv2d, Tap
from mobilemod.networks.efficientmod import VARIANTS, EfficientMod

FORMS = {"xnnpack": XNNPACK_FORM, "coreml": COREML_FORM}
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def network(golden_state):
    built = {}

    def get(name):
        if name not in built:
            model = EfficientMod(VARIANTS[name])
            model.load_state_dict(golden_state(name))
            built[name] = model.eval()
        return built[name]

    return get


@pytest.mark.parametrize("size", [192, 224, 256])
@pytest.mark.parametrize("name", list(VARIANTS))
@torch.no_grad()
def test_equals_reference(network, golden_input, name, size):
    model = network(name)
    x = golden_input(size)[:1]
    expected = model(x)
    for form, options in FORMS.items():
        difference = float((build_mobile(model, options)(x) - expected).abs().max())
        assert difference <= TOLERANCE, form


@pytest.mark.parametrize(
    "module,attribute",
    [("layers.1.depthwise.convs.2", "weight"), ("layers.1.norm.variance", "bias"),
     ("layers.1.f", "bias"), ("head", "weight")],
)  # fmt: skip
@torch.no_grad()
def test_comparison_catches_a_change(narrow_model, module, attribute):
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    form = build_mobile(narrow_model, XNNPACK_FORM)
    expected = narrow_model(x)
    assert float((form(x) - expected).abs().max()) <= TOLERANCE
    values = getattr(form.get_submodule(module), attribute)
    values.view(-1)[0] += 1.0
    assert float((form(x) - expected).abs().max()) > TOLERANCE


@pytest.mark.parametrize("form", list(FORMS))
def test_names_are_unique_and_of_the_published_network(narrow_model, form):
    mobile = build_mobile(narrow_model, FORMS[form])
    names = [m.tensor for m in mobile.modules() if isinstance(m, Tap | NamedConv2d)]
    assert len(names) == len(set(names))
    modules = {name for name, _ in narrow_model.named_modules()}
    for conv in (m for m in mobile.modules() if isinstance(m, NamedConv2d)):
        assert conv.module in modules
    for tap in (m for m in mobile.modules() if isinstance(m, Tap)):
        path = tap.tensor.partition(":")[0]
        while path and path not in modules:
            path = path.rpartition(".")[0]
        assert path, tap.tensor


def test_the_forms_differ_only_where_stated(narrow_model):
    names = {
        form: {m.tensor for m in build_mobile(narrow_model, o).modules() if isinstance(m, Tap)}
        for form, o in FORMS.items()
    }
    assert names["coreml"] < names["xnnpack"]
    assert all(
        ".part" in n or ".sum" in n or ":merged" in n for n in names["xnnpack"] - names["coreml"]
    )
