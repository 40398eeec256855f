"""EfficientFormerV2: its logits, the names in published files, the size it is made for.

`tests/data/efficientformerv2` has of the published implementation every tenth golden logit, and a
sha256 over each variant's sorted lines "NAME SHAPE", by the authors' names and by timm's.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Mapping

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import mobilemod
from export.source import open_source
from mobilemod.errors import UserError
from mobilemod.forms.canonical import canonical_form
from mobilemod.forms.mobile_ops import COREML_FORM, XNNPACK_FORM
from mobilemod.networks import efficientformerv2 as family
from mobilemod.networks.checkpoints import (
    expected_shapes,
    identify,
    load_checkpoint,
    save_checkpoint,
)
from mobilemod.networks.registry import at_size, build, get_variant, network, preprocess_of
from mobilemod.networks.synthetic import trained_like_state
from mobilemod.training.config import Phase, TrainConfig
from mobilemod.training.images import Images
from mobilemod.training.train import Trainer
from quantization.calibration import Calibration, observe, weights_digest
from quantization.program import make_table
from quantization.recipe import load_recipe
from tests.conftest import TEST_DATA

DATA = TEST_DATA / "efficientformerv2"
TOLERANCE = 5e-5
S0, S1 = "efficientformerv2_s0", "efficientformerv2_s1"
PARAMETERS = {
    S0: 3_600_256,
    S1: 6_185_560,
    "efficientformerv2_s2": 12_710_112,
    "efficientformerv2_l": 26_322_288,
}
# Every layer of the real ones, for images of 64 pixels; not among the known variants.
TINY = family.Variant(
    "efficientformerv2_tiny", (8, 8, 16, 24), ((2,), (1,), (1, 2), (2, 1)), (0, 0, 1, 1), 64
)
INDEX = "network.4.1.token_mixer.attention_bias_idxs"
# The authors' names -> timm's, one rule after the other, as the two publish them.
TO_TIMM = [
    (r"^patch_embed\.([03])\.", lambda m: f"stem.conv{1 + int(m[1]) // 3}.conv."),
    (r"^patch_embed\.([14])\.", lambda m: f"stem.conv{1 + int(m[1]) // 3}.bn."),
    (r"^network\.([0246])\.", lambda m: f"stages.{int(m[1]) // 2}.blocks."),
    (r"^network\.5\.attn\.", "stages.3.downsample.attn."),
    (r"^network\.5\.(conv|bn)\.", r"stages.3.downsample.conv.\1."),
    (r"^network\.1\.proj\.", "stages.1.downsample.conv.conv."),
    (r"^network\.3\.proj\.", "stages.2.downsample.conv.conv."),
    (r"^network\.1\.norm\.", "stages.1.downsample.conv.bn."),
    (r"^network\.3\.norm\.", "stages.2.downsample.conv.bn."),
    (r"\.mlp\.(fc1|fc2|mid)\.", r".mlp.\1.conv."),
    (r"\.mlp\.norm([12])\.", r".mlp.fc\1.bn."),
    (r"\.mlp\.mid_norm\.", ".mlp.mid.bn."),
    (r"\.layer_scale_([12])$", r".ls\1.gamma"),
    (r"\.q\.local\.0\.", ".q.local."),
    (r"\.(token_mixer|attn)\.proj\.1\.", r".\1.proj.conv."),
    (r"\.(token_mixer|attn)\.proj\.2\.", r".\1.proj.bn."),
    (r"\.(q|k|v|v_local|stride_conv|q\.proj)\.0\.", r".\1.conv."),
    (r"\.(q|k|v|v_local|stride_conv|q\.proj)\.1\.", r".\1.bn."),
    (r"^dist_head\.", "head_dist."),
]


def authors(state: Mapping[str, Tensor], side: int) -> dict[str, Tensor]:
    """As the authors' files have it, with the index of biases; side: of stage 4's grid.

    They number offsets as these come up from the first position on.
    """
    found = dict(state)
    for name in state:
        module, _, last = name.rpartition(".")
        if last == "attention_biases":
            stride = 2 if module.startswith("network.5.") else 1
            grid = [(y, x) for y in range(stride * side) for x in range(stride * side)]
            queries = [p for p in grid if p[0] % stride == p[1] % stride == 0]
            offsets: dict[tuple[int, int], int] = {}
            rows = [
                [offsets.setdefault((abs(y - v), abs(x - u)), len(offsets)) for v, u in grid]
                for y, x in queries
            ]
            found[f"{module}.attention_bias_idxs"] = torch.tensor(rows)
    return found


def timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As timm's files have it."""
    found = {}
    for name, value in state.items():
        scale = ".layer_scale_" in name
        for pattern, replacement in TO_TIMM:
            name = re.sub(pattern, replacement, name)
        found[name] = value.flatten() if scale else value
    return found


def digest(state: Mapping[str, Tensor]) -> str:
    lines = sorted(f"{name} {'x'.join(map(str, t.shape))}" for name, t in state.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@functools.cache
def golden_network(name: str, size: int):
    return network(name, 1000, trained_like_state(at_size(get_variant(name), size)))


@torch.no_grad()
def difference(name: str, size: int) -> float:
    """Largest difference of any golden logit."""
    x = np.random.default_rng(20221215).standard_normal((2, 3, size, size)).astype(np.float32)
    with np.load(DATA / "golden_logits.npz") as file:
        expected = file[f"{name}_{size}"]
    logits = golden_network(name, size)(torch.from_numpy(x)).numpy()
    assert logits.shape == (2, 1000)
    return float(np.abs(logits[:, ::10] - expected).max())


@pytest.fixture
def tiny(monkeypatch) -> dict[str, Tensor]:
    """Weights of `TINY` with ten classes, which is among the known variants for this test."""
    monkeypatch.setitem(family.VARIANTS, TINY.name, TINY)
    return trained_like_state(TINY, 10)


def refusal(*arguments, **named) -> str:
    with pytest.raises(UserError) as error:
        mobilemod.create_model(*arguments, **named)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("name", "size"), [(S0, 224), (S1, 224), (S0, 256)])
def test_golden_logits(name, size):
    assert difference(name, size) <= TOLERANCE


@pytest.mark.parametrize("change", ["eps", "gelu", "upsampling", "heads", "table"])
def test_golden_logits_catch_a_change(change, monkeypatch):
    model = golden_network(S0, 224)
    if change == "eps":
        for module in model.modules():
            if hasattr(module, "eps"):
                monkeypatch.setattr(module, "eps", 1e-6)
    elif change == "gelu":
        monkeypatch.setattr(F, "gelu", functools.partial(F.gelu, approximate="tanh"))
    elif change == "upsampling":
        bilinear = functools.partial(F.interpolate, scale_factor=2, mode="bilinear")
        monkeypatch.setattr(F, "interpolate", lambda x, **_: bilinear(x, align_corners=True))
    elif change == "heads":
        monkeypatch.setattr(model.dist_head, "forward", model.head.forward)
    else:
        attention = model.network[5].attn
        turned = attention.attention_bias_idxs.unflatten(1, (14, 14)).transpose(1, 2).flatten(1)
        monkeypatch.setattr(attention, "attention_bias_idxs", turned)
    assert difference(S0, 224) > TOLERANCE


@pytest.mark.parametrize("name", PARAMETERS)
def test_names_and_shapes(name):
    published = json.loads((DATA / "names.json").read_text())
    with torch.device("meta"):
        model = build(name, 1000)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    assert digest(authors(model.state_dict(), 7)) == published["authors"][name]
    assert digest(timm(model.state_dict())) == published["timm"][name]


def test_every_attention_has_its_size():
    sides = {
        size: {
            round(m.attention_biases.shape[1] ** 0.5)
            for m in mobilemod.create_model(S0, size=size).modules()
            if isinstance(m, family.BiasedAttention)
        }
        for size in (224, 256, 32)
    }
    assert sides == {224: {7, 14}, 256: {8, 16}, 32: {1, 2}}


@pytest.mark.parametrize("form", ["authors", "authors, plain", "timm", "own"])
def test_a_file_is_loaded_strictly(form, tmp_path):
    state = trained_like_state(get_variant(S0))
    path = tmp_path / "file.pth"
    counted = {
        **state,
        **{k.replace("running_var", "num_batches_tracked"): torch.tensor(7)
           for k in state if k.endswith("running_var")},
    }  # fmt: skip
    if form == "authors":
        other = {k: v + 1 for k, v in authors(counted, 7).items() if "idxs" not in k}
        torch.save({"model": authors(counted, 7), "model_ema": other, "epoch": 450}, path)
    elif form == "own":
        path = path.with_suffix(".safetensors")
        save_checkpoint(path, counted, {"model": S0}, torch.float32)
    else:
        torch.save(timm(counted) if form == "timm" else authors(counted, 7), path)
    loaded = load_checkpoint(path)
    assert (loaded.variant, loaded.num_classes) == (S0, 1000)
    assert loaded.state.keys() == state.keys()
    assert all(torch.equal(loaded.state[name], value) for name, value in state.items())
    if form == "authors":
        assert loaded.metadata == {"weights": "model"}
        assert "model_ema" in str(loaded.taken.others)


def test_which_variant_a_file_is():
    for name in PARAMETERS:
        shapes = {k: torch.empty(v, device="meta") for k, v in
                  expected_shapes(get_variant(name), 10).items()}  # fmt: skip
        assert identify(shapes) == identify(timm(shapes)) == name
    larger = expected_shapes(at_size(get_variant(S1), 384), 1000)
    assert identify({k: torch.empty(v) for k, v in larger.items()}) == S1


def test_a_file_that_does_not_fit_is_refused(tiny, tmp_path):
    path = tmp_path / "file.pth"

    def said(**changes) -> str:
        state = {**authors(tiny, 2), **{k.replace("__", "."): v for k, v in changes.items()}}
        torch.save({k: v for k, v in state.items() if v is not None}, path)
        return refusal(TINY.name, 10, path, 64)

    table = "network__5__attn__attention_biases"
    assert "network.5.attn.k.1.running_var missing" in said(
        network__5__attn__k__1__running_var=None
    )
    assert "attention_biases has shape 8x9, not 8x4" in said(
        network__6__1__token_mixer__attention_biases=torch.zeros(8, 9)
    )
    assert "attention_biases has shape 8x15, not 8x16" in said(**{table: torch.zeros(8, 15)})
    assert "dist_head.bias missing" in said(dist_head__bias=None)
    assert "and 1 names more (more); if they are no part" in said(more=torch.zeros(3))
    assert "stem.conv1.conv.weight unexpected" in said(
        stem__conv1__conv__weight=torch.zeros(4, 3, 3, 3), head__bias=None
    )
    wrong = authors(tiny, 2)[INDEX].flip(1)
    message = said(**{INDEX.replace(".", "__"): wrong})
    assert f"1 names more ({INDEX}); it numbers distances otherwise" in message
    for odd in (torch.zeros(4, 4).long(), torch.zeros(()), torch.zeros(1).expand(10**6, 10**6)):
        assert INDEX in said(**{INDEX.replace(".", "__"): odd})
    torch.save(tiny, path)
    assert "ask for num_classes=10" in refusal(TINY.name, 1000, path, 64)
    assert "doesn't fit efficientformerv2_s0: it looks like efficientformerv2_tiny" in refusal(
        S0, 1000, path
    )


def test_a_file_for_another_size_is_refused(tiny, tmp_path):
    path = tmp_path / "file.pth"
    torch.save(timm(tiny), path)
    model = mobilemod.create_model(TINY.name, 10, path, size=64)
    assert model.variant == TINY and preprocess_of(model).size == 64
    message = refusal(TINY.name, 10, path, size=96)
    assert f"{path} are for images of 64 x 64 pixels, not 96 x 96: ask for size 64" in message
    with pytest.raises(UserError, match=r"_tiny are for images of 64 x 64 pixels, not 96 x 96"):
        preprocess_of(model, 96)
    with pytest.raises(UserError, match="image size 100: must be a multiple of 32"):
        preprocess_of(model, 100)
    larger = trained_like_state(dataclasses.replace(TINY, size=96), 10)
    torch.save(authors(larger, 3), path)
    source = open_source(TINY.name, path, None)
    model = source.module
    assert (model.variant.size, source.preprocess.size) == (96, 96)
    assert torch.equal(mobilemod.create_model(TINY.name, 10, path, 96).head.bias, model.head.bias)


def test_images_of_another_size_are_refused(tiny):
    model = mobilemod.create_model(TINY.name, size=64)
    for shape in ((64, 96), (96, 96)):
        with pytest.raises(UserError, match=f"64 x 64 pixels, not {shape[0]} x {shape[1]}"):
            model(torch.zeros(1, 3, *shape))
    assert "image size 100: must be a multiple of 32" in refusal(S0, size=100)
    assert "image size 100: must be a multiple of 32" in refusal("efficientmod_xxs", size=100)
    with torch.no_grad():
        other = mobilemod.create_model("efficientmod_xxs", 10, size=96)
        assert other(torch.zeros(1, 3, 64, 96)).shape == (1, 10)


def test_weights_loaded_later_count(tiny):
    model = network(TINY.name, 10, tiny)
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model(x)
        model.network[6][1].token_mixer.attention_biases *= 3
        assert not torch.equal(model(x), before)


def test_the_network_is_exported_as_it_is(tiny):
    model = network(TINY.name, 10, tiny)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    program = torch.export.export(model, (x,))
    with torch.no_grad():
        assert torch.allclose(program.module()(x), model(x), atol=1e-6)
    targets = {str(n.target) for n in program.graph.nodes if n.op == "call_function"}
    assert "aten.softmax.int" in targets and "aten.slice.Tensor" in targets
    assert not any("attention" in t or "pool" in t for t in targets)


def test_it_is_compiled(tiny):
    model = network(TINY.name, 10, tiny)
    canonical = canonical_form(model, (3, 64, 64))
    assert canonical.left == ()
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(x)
        for options in (XNNPACK_FORM, COREML_FORM):
            torch.testing.assert_close(canonical.form(options)(x), expected, rtol=0, atol=1e-4)


def test_what_the_recipes_make_of_talking_heads(tiny):
    canonical = canonical_form(network(TINY.name, 10, tiny), (3, 64, 64))
    form = canonical.form(XNNPACK_FORM)
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    seen = Calibration("", "", 1, observe(form, [x], 1))
    cpu, npu = (make_table(form, "xnnpack", load_recipe(r), seen).entries for r in ("cpu", "npu"))
    inside = [name for name in npu if "talking_head" in name]
    assert len(inside) == 16 and not set(inside) & set(cpu)
    softmax = "network.4.1.token_mixer.talking_head1:softmax"
    moved = next(e for e in npu.values() if e.source == softmax)
    assert moved.scale == npu[softmax].scale == (1 / 256,)
    table = npu["network.4.1.token_mixer:constant"]
    moved = next(e for e in npu.values() if e.source == table.tensor)
    assert (moved.scale, moved.zero_point) == (table.scale, table.zero_point)


def test_batches_counted_are_no_weights(tiny):
    model = network(TINY.name, 10, tiny)
    before = weights_digest(model.state_dict())
    assert before == weights_digest(tiny)
    model.norm.num_batches_tracked += 1
    assert weights_digest(model.state_dict()) == before
    model.norm.running_var += 1
    assert weights_digest(model.state_dict()) != before


def test_it_trains(tiny, tmp_path):
    rng = np.random.default_rng(0)
    images = Images(rng.integers(0, 256, (8, 72, 72, 3), np.uint8), np.arange(8) % 2)
    config = TrainConfig(
        TINY.name, 2, (Phase(64, 1),), batch_size=4, drop_path=0.5, precision="fp32"
    )
    trainer = Trainer(config, images, images, tmp_path, "cpu")
    assert trainer.model.network[0][0].layer_scale_2.mean() == config.gamma_init
    assert trainer.model.dist_head.weight.std() < 0.03
    before = {name: p.clone() for name, p in trainer.model.named_parameters()}
    trainer._epoch(trainer.model, 0)
    assert np.isfinite(trainer.loss) and trainer.loss > 0
    stay = {n for n, p in trainer.model.named_parameters() if torch.equal(p, before[n])}
    assert not {n for n in stay if n.startswith(("head.", "dist_head.", "network.5.attn."))}
    mean = trainer.model.norm.running_mean
    assert mean.any() and torch.equal(trainer.ema.norm.running_mean, mean)
