"""EfficientMod with Semantic FPN: its logits, its names, MMSegmentation's checkpoints, its forms.

`tests/data/efficientmod_fpn` has of the published implementation every tenth channel of a sample of
the golden logits and their means, and a sha256 over each network's sorted lines "NAME SHAPE".
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import mobilemod
from mobilemod.errors import UserError
from mobilemod.forms.canonical import canonical_form
from mobilemod.forms.mobile_ops import COREML_FORM, XNNPACK_FORM
from mobilemod.networks.checkpoints import identify, load_checkpoint
from mobilemod.networks.registry import build, get_variant, network, preprocess_of
from mobilemod.networks.synthetic import trained_like_state
from tests.conftest import TEST_DATA

DATA = TEST_DATA / "efficientmod_fpn"
TOLERANCE = 5e-4
S, S_CONV, XXS = "efficientmod_s_fpn", "efficientmod_s_conv_fpn", "efficientmod_xxs_fpn"
CLASSES = 150
PARAMETERS = {S: 16_729_374, S_CONV: 16_690_894, XXS: 8_606_134}


def published(name: str, classes: int = CLASSES):
    return network(name, classes, trained_like_state(get_variant(name), classes))


@torch.no_grad()
def differences(name: str, height: int, width: int) -> list[float]:
    """The largest of the sample, of the means and, where there is one, of the resized logits."""
    rng = np.random.default_rng(20240330)
    x = rng.standard_normal((1, 3, height, width)).astype(np.float32)
    logits = published(name)(torch.from_numpy(x))
    key = f"{name}_{height}x{width}"
    with np.load(DATA / "golden_logits.npz") as file:
        found = [
            np.abs(logits[:, ::10, 0::9, 1::9].numpy() - file[key]).max(),
            np.abs(logits.mean((2, 3)).numpy() - file[f"{key}_mean"]).max(),
        ]
        if f"{key}_upsampled" in file:
            large = F.interpolate(logits, size=(height, width), mode="bilinear")
            wanted = file[f"{key}_upsampled"]
            found.append(np.abs(large[:, ::10, 0::9, 1::9].numpy() - wanted).max())
    return [float(f) for f in found]


@pytest.mark.parametrize(
    "name, height, width",
    [
        (S, 128, 160),
        (S_CONV, 128, 160),
        pytest.param(S, 512, 512, marks=pytest.mark.slow),
        pytest.param(S, 512, 640, marks=pytest.mark.slow),
    ],
)
def test_golden_logits(name, height, width):
    torch.set_num_threads(1)
    assert max(differences(name, height, width)) < TOLERANCE


@pytest.mark.parametrize("name", PARAMETERS)
def test_counts_are_the_published_ones(name):
    assert sum(p.numel() for p in build(name, CLASSES).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", [S, S_CONV])
def test_names_are_the_published_ones(name):
    state = build(name, CLASSES).state_dict()
    lines = sorted(f"{k} {'x'.join(map(str, v.shape))}" for k, v in state.items())
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert digest == json.loads((DATA / "names.json").read_text())[name]


@pytest.mark.parametrize("prefix", ["", "module."])
def test_mmsegmentation_s_checkpoints_are_read(prefix, tmp_path):
    """By their names, whatever stands beside the weights."""
    model = build(XXS, 11)
    state = {f"{prefix}{k}": v for k, v in model.state_dict().items()}
    path = tmp_path / "iter_40000.pth"
    optimizer = {"state": {}, "param_groups": [{"lr": 2e-4}]}
    torch.save({"meta": {"iter": 40000}, "state_dict": state, "optimizer": optimizer}, path)
    found = load_checkpoint(path)
    assert (found.variant, found.num_classes) == (XXS, 11)
    loaded = mobilemod.create_model(XXS, 11, path, size=64)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(x), model.eval()(x))


def test_a_checkpoint_of_the_backbone_alone_is_refused(tmp_path):
    path = tmp_path / "backbone.pth"
    torch.save(build("efficientmod_xxs", 11).state_dict(), path)
    with pytest.raises(UserError, match="looks like efficientmod_xxs"):
        load_checkpoint(path, XXS)
    assert load_checkpoint(path).variant == "efficientmod_xxs"


def test_other_numbers_of_classes_are_told(tmp_path):
    path = tmp_path / "a.pth"
    torch.save(build(XXS, 11).state_dict(), path)
    with pytest.raises(UserError, match="its head has 11; ask for num_classes=11"):
        load_checkpoint(path, XXS, 150)


def test_it_is_told_from_its_relatives():
    for name in (S, S_CONV, XXS, "efficientmod_xs_fpn"):
        assert identify(build(name, 21).state_dict()) == name


def test_what_a_phone_feeds_it():
    taken = preprocess_of(XXS)
    assert (taken.sides, taken.fit, taken.interpolation) == ((512, 512), "stretch", "bilinear")


@pytest.mark.parametrize("options", [XNNPACK_FORM, COREML_FORM], ids=["xnnpack", "coreml"])
def test_its_mobile_form_computes_the_same(options):
    torch.set_num_threads(1)
    model = published(XXS, 11)
    canonical = canonical_form(model, (3, 64, 96))
    assert canonical.left == ()
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        logits, found = model(x), canonical.form(options)(x)
    assert found.shape == (1, 11, 16, 24)
    assert float((found - logits).abs().max()) < TOLERANCE
