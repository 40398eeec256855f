"""Families of networks: found by listing, and one of another family as the one file it is."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import mobilemod
from export.source import open_source
from mobilemod import networks
from mobilemod.closure import ROOT
from mobilemod.errors import UserError
from mobilemod.forms.canonical import canonical_form
from mobilemod.forms.mobile_ops import XNNPACK_FORM
from mobilemod.networks import registry
from mobilemod.networks.checkpoints import identify, load_checkpoint, save_checkpoint
from mobilemod.networks.synthetic import trained_like_state
from mobilemod.training.config import TrainConfig
from mobilemod.training.train import init_for_training

TOY = Path(__file__).parents[1] / "data" / "toy_family.py"
PACKAGES = ("mobilemod", "quantization", "export")


@pytest.fixture
def toy(tmp_path, monkeypatch) -> Iterator[str]:
    """The name of a variant of the toy family, whose file lies beside the families'."""
    folder = tmp_path / "families"
    folder.mkdir()
    shutil.copy(TOY, folder / "toy.py")
    monkeypatch.setattr(networks, "__path__", [*networks.__path__, str(folder)])
    yield "toy_small"
    sys.modules.pop("mobilemod.networks.toy", None)


@pytest.fixture
def toy_file(toy, tmp_path) -> Path:
    """A checkpoint of `toy` with three classes, in which the head has another name."""
    state = trained_like_state(registry.get_variant(toy), 3)
    renamed = {f"module.{k.replace('fc.', 'classifier.')}": v for k, v in state.items()}
    torch.save({"state_dict": renamed, "epoch": 3}, tmp_path / "toy.pth")
    return tmp_path / "toy.pth"


@pytest.mark.parametrize("name", registry.variants())
def test_a_variant_is_known_by_its_own_name(name):
    variant, family = registry.get_variant(name), registry.family_of(name)
    assert variant.name == name and isinstance(variant, family.variant)
    assert registry.family_of(variant) is family
    for bundled in family.bundled.values():
        assert (ROOT / "mobilemod" / "assets" / bundled.file).is_file()


def test_listing_runs_no_family(tmp_path):
    """Names are read from the files' text; a misspelled one is refused without a framework."""
    code = (
        "import sys\n"
        "from mobilemod.errors import UserError\n"
        "from mobilemod.networks import registry\n"
        "print(*registry.variants())\n"
        "try:\n    registry.get_variant('efficientmod-xs')\n"
        "except UserError as error:\n    print(error)\n"
        "sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names, refusal = done.stdout.splitlines()
    assert names.split() == list(registry.variants())
    assert "did you mean 'efficientmod_xs'?" in refusal


def test_two_families_cannot_share_a_name(toy, tmp_path):
    shutil.copy(TOY, tmp_path / "families" / "zoo.py")
    with pytest.raises(ValueError, match="'toy_small' is both in .*toy and in .*zoo"):
        registry.variants()


def test_a_file_without_a_record_is_named(toy, tmp_path):
    (tmp_path / "families" / "half.py").write_text('"""Half."""\nVARIANTS = {"half": 1}\n')
    with pytest.raises(TypeError, match=r"mobilemod\.networks\.half has no FAMILY"):
        registry.family_of("half")
    sys.modules.pop("mobilemod.networks.half")
    with pytest.raises(TypeError, match="torch"):
        registry.family_of(nn.Linear(1, 1))


def test_a_new_family_is_built(toy):
    assert list(registry.variants())[-2:] == ["toy_small", "toy_large"]
    model = mobilemod.create_model(toy, num_classes=3)
    assert type(model).__name__ == "Toy" and not model.training
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 3)
    assert registry.build(toy, 3, drop_path=0.25).drop_path == 0.25
    with pytest.raises(UserError, match="did you mean 'toy_small'"):
        mobilemod.create_model("toy-small")


def test_a_new_family_starts_to_train(toy):
    model = registry.build(toy, 3)
    init_for_training(model, TrainConfig(model=toy, num_classes=3))
    assert model.body.weight.std().item() == pytest.approx((9 * 16) ** -0.5, rel=0.1)
    assert not model.stem.bias.any() and model.fc.weight.std().item() < 0.03


def test_a_new_family_is_loaded_strictly(toy, toy_file, tmp_path):
    loaded = load_checkpoint(toy_file)
    assert (loaded.variant, loaded.num_classes) == (toy, 3)
    assert identify(loaded.state) == toy
    model = mobilemod.create_model(toy, 3, toy_file)
    assert all(torch.equal(v, loaded.state[k]) for k, v in model.state_dict().items())

    with pytest.raises(UserError, match="doesn't fit toy_large: it looks like toy_small;"):
        load_checkpoint(toy_file, "toy_large")
    with pytest.raises(UserError, match=r"with 5 classes.*ask for num_classes=3"):
        load_checkpoint(toy_file, toy, 5)
    with pytest.raises(UserError, match="doesn't fit efficientmod_xs: it looks like toy_small;"):
        load_checkpoint(toy_file, "efficientmod_xs")
    path = tmp_path / "few.safetensors"
    few = {k: v for k, v in loaded.state.items() if k != "body.bias"}
    save_checkpoint(path, few, {"model": toy}, torch.float32)
    with pytest.raises(UserError, match="body.bias missing"):
        load_checkpoint(path)
    with pytest.raises(RuntimeError, match="body.bias"):
        registry.network(toy, 3, few)
    save_checkpoint(path, {"conv.weight": torch.ones(1)}, {}, torch.float32)
    with pytest.raises(
        UserError,
        match="EfficientFormerV2 or EfficientMod or EfficientMod with Semantic FPN or Toy",
    ):
        load_checkpoint(path)


def test_a_new_family_brings_labels_and_preprocessing(toy, toy_file, tmp_path):
    source = open_source(toy, toy_file, None)
    assert source.label_ids == ("dog", "cat", "bird")
    assert registry.family_of(toy).preprocess.size == 64
    more = tmp_path / "four.safetensors"
    state = trained_like_state(registry.get_variant(toy), 4)
    save_checkpoint(more, state, {"model": toy}, torch.float32)
    assert open_source(toy, more, None).label_ids == ("0", "1", "2", "3")
    with pytest.raises(UserError, match=r"no checkpoint comes with toy_small.*a file of ours or"):
        open_source(toy, None, None)


def test_a_new_family_is_compiled(toy):
    model = registry.network(toy, 3, trained_like_state(registry.get_variant(toy), 3))
    canonical = canonical_form(model, (3, 64, 64))
    assert (canonical.left, canonical.output, canonical.num_classes) == ((), "fc:out", 3)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(canonical.form(XNNPACK_FORM)(x), model(x), atol=1e-5)


def uses(tree: ast.AST, name: str) -> Iterator[int]:
    """Lines where `name` is called or handed on; annotations don't count."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns"):
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST):
                if name in (getattr(node, "id", None), getattr(node, "attr", None)):
                    yield node.lineno
                yield from uses(node, name)


def test_networks_are_constructed_by_their_family_alone():
    places = [
        path.relative_to(ROOT).as_posix()
        for package in (*PACKAGES, "benchmarks")
        for path in (ROOT / package).rglob("*.py")
        for _ in uses(ast.parse(path.read_text("utf-8")), "EfficientMod")
    ]
    assert places == ["mobilemod/networks/efficientmod.py"]


@pytest.mark.parametrize("text", ["f(EfficientMod)", "m.EfficientMod(v)", "x = EfficientMod(v, 2)"])
def test_other_constructions_are_found(text):
    source = f"def g(m: EfficientMod) -> EfficientMod:\n    {text}"
    assert list(uses(ast.parse(source), "EfficientMod")) == [2]
