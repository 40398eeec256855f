"""What the compiler makes of every variant computes the published network's function."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mobilemod.forms.canonical import canonical_form
from mobilemod.forms.mobile_ops import COREML_FORM, XNNPACK_FORM, NamedConv2d, Tap
from mobilemod.networks.efficientmod import VARIANTS
from mobilemod.networks.registry import network

FORMS = {"xnnpack": XNNPACK_FORM, "coreml": COREML_FORM}
TOLERANCE = 1e-4
CONTEXT = "layers.1.blocks.0.mlp.context_layer"


@pytest.mark.parametrize(
    "name,size",
    [("efficientmod_xxs", 192), ("efficientmod_xxs", 256), *((name, 224) for name in VARIANTS)],
)
@torch.no_grad()
def test_equals_the_published_network(golden_state, golden_input, golden_dir, name, size):
    """Its recorded logits, where there are any, else those of the network as it stands here."""
    model = network(name, 1000, golden_state(name))
    x = golden_input(size)
    with np.load(golden_dir / "golden_logits.npz") as golden:
        recorded = golden.get(f"{name}_{size}")
    expected = model(x) if recorded is None else torch.from_numpy(recorded)
    canonical = canonical_form(model, (3, size, size))
    assert canonical.left == ()
    for form, options in FORMS.items():
        difference = float((canonical.form(options)(x) - expected).abs().max())
        assert difference <= TOLERANCE, form


@pytest.mark.parametrize(
    "kind,name,attribute",
    [("depthwise.weight", f"{CONTEXT}.context_list.0.part2:weight", "weight"),
     ("norm.weight", "layers.1.blocks.0.norm.variance:weight", "bias"),
     ("weight", f"{CONTEXT}.f:weight", "bias"),
     ("weight", "head:weight", "weight")],
)  # fmt: skip
@torch.no_grad()
def test_comparison_catches_a_change(narrow_model, narrow_form, kind, name, attribute):
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    form = narrow_form.form(XNNPACK_FORM)
    expected = narrow_model(x)
    assert float((form(x) - expected).abs().max()) <= TOLERANCE
    convs = [m for m in form.modules() if isinstance(m, NamedConv2d) and m.tensor == name]
    assert [conv.role for conv in convs] == [kind]
    getattr(convs[0], attribute).view(-1)[0] += 1.0
    assert float((form(x) - expected).abs().max()) > TOLERANCE


@pytest.mark.parametrize("form", list(FORMS))
def test_names_are_unique_and_of_the_published_network(narrow_model, narrow_form, form):
    made = narrow_form.form(FORMS[form])
    names = [m.tensor for m in made.modules() if isinstance(m, Tap | NamedConv2d)]
    assert len(names) == len(set(names))
    modules = {name for name, _ in narrow_model.named_modules()} | {"network"}
    for name in names:
        path = name.partition(":")[0]
        while path and path not in modules:
            path = path.rpartition(".")[0]
        assert path, name


def test_the_forms_differ_only_where_stated(narrow_form):
    names = {
        form: {m.tensor for m in narrow_form.form(o).modules() if isinstance(m, Tap)}
        for form, o in FORMS.items()
    }
    assert names["coreml"] < names["xnnpack"]
    assert all(
        ".part" in n or ".sum" in n or ":merged" in n for n in names["xnnpack"] - names["coreml"]
    )
