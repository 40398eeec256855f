"""Checkpoints: every format in, strictly, and nothing executed."""

from __future__ import annotations

import argparse
import json
import os
import resource

import numpy as np
import pytest
import torch

import mobilemod
from mobilemod.errors import UserError
from mobilemod.files import file_sha256
from mobilemod.networks import checkpoints
from mobilemod.networks.checkpoints import identify, load_checkpoint, save_checkpoint
from mobilemod.networks.efficientmod import VARIANTS, EfficientMod

XXS = "efficientmod_xxs"


@pytest.fixture
def state(narrow_state):
    return narrow_state


def scaled(state, factor):
    return {k: v * factor for k, v in state.items()}


def prefixed(state):
    return {f"module.{k}": v for k, v in state.items()}


def equal(a, b) -> bool:
    return list(a) == list(b) and all(torch.equal(a[k], b[k]) for k in a)


def refusal(*arguments) -> str:
    """The one-line message of the `UserError` that loading must raise."""
    with pytest.raises(UserError) as caught:
        load_checkpoint(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert str(arguments[0]) in message
    return message


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "wrap,factor,key",
    [
        (lambda s: s, 1, ""),
        (prefixed, 1, ""),
        (lambda s: {"model": s, "epoch": 3}, 1, "model"),
        (lambda s: {"state_dict": prefixed(s), "arch": "x"}, 1, "state_dict"),
        (lambda s: {"state_dict": scaled(s, 2), "state_dict_ema": s}, 1, "state_dict_ema"),
        (lambda s: {"model": scaled(s, 2), "state_dict": s}, 1, "state_dict"),
        (lambda s: {"state_dict": s, "state_dict_ema": None}, 1, "state_dict"),
    ],
    ids=["plain", "prefixed", "model", "state_dict", "ema first", "state_dict first", "no ema"],
)
def test_torch_formats(tmp_path, known_narrow, state, wrap, factor, key, legacy):
    path = tmp_path / "a.pth.tar"
    torch.save(wrap(state), path, _use_new_zipfile_serialization=not legacy)
    loaded = load_checkpoint(path, known_narrow)
    assert equal(loaded.state, scaled(state, factor))
    assert (loaded.variant, loaded.num_classes) == (known_narrow, 10)
    assert loaded.metadata == {"weights": key}
    assert loaded.sha256 == file_sha256(path)


def test_training_file_with_namespace_and_numpy_scalars(tmp_path, known_narrow, state):
    content = {
        "state_dict": state,
        "args": argparse.Namespace(lr=0.1, model=known_narrow, betas=(0.9, 0.999)),
        "metric": np.float64(77.1),
        "best": np.int64(3),
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
    }
    torch.save(content, tmp_path / "a.pth")
    assert equal(load_checkpoint(tmp_path / "a.pth").state, state)
    # Negative control: without the allowance torch refuses this very file.
    with pytest.raises(Exception, match="not an allowed global"):
        torch.load(tmp_path / "a.pth", weights_only=True)


def test_allowance_ends_with_the_call(tmp_path, known_narrow, state):
    torch.save(state, tmp_path / "a.pth")
    before = set(torch.serialization.get_safe_globals())
    load_checkpoint(tmp_path / "a.pth")
    assert set(torch.serialization.get_safe_globals()) == before


def test_half_precision_becomes_float32(tmp_path, known_narrow, state):
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        torch.save({k: v.to(dtype) for k, v in state.items()}, tmp_path / "a.pth")
        loaded = load_checkpoint(tmp_path / "a.pth").state
        assert {v.dtype for v in loaded.values()} == {torch.float32}
        assert all(torch.equal(loaded[k], v.to(dtype).float()) for k, v in state.items())


class Payload:
    """Calls a function when unpickled."""

    def __init__(self, function, argument: str):
        self.function, self.argument = function, argument

    def __reduce__(self):
        return self.function, (self.argument,)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "function,argument", [(os.system, "touch {}"), (exec, "open('{}', 'w').close()")]
)
def test_code_in_a_pickle_is_refused(tmp_path, state, legacy, function, argument):
    path, marker = tmp_path / "evil.pth", tmp_path / "ran"
    content = {"state_dict": state, "args": Payload(function, argument.format(marker))}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    assert "would run code" in refusal(path)
    assert function.__name__ in refusal(path)
    assert not marker.exists()
    torch.load(path, weights_only=False)  # negative control: the payload is live
    assert marker.exists()


def test_whole_module_is_refused(tmp_path, narrow_model):
    torch.save(narrow_model, tmp_path / "a.pth")
    assert "EfficientMod" in refusal(tmp_path / "a.pth")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.001, 0.02, 0.5, 0.99])
def test_truncated(tmp_path, known_narrow, state, kind, share):
    path = tmp_path / f"a.{kind}"
    if kind == "safetensors":
        save_checkpoint(path, state, {"model": known_narrow}, torch.float32)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    load_checkpoint(path)  # negative control: whole, it loads
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert "cut short or damaged" in refusal(path)


def test_what_is_no_checkpoint(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "page").write_text("<!DOCTYPE html><html>404</html>")
    (tmp_path / "short").write_bytes(b"PK")
    os.mkfifo(tmp_path / "pipe")
    assert "is empty" in refusal(tmp_path / "empty")
    assert "<!DOCTYPE" in refusal(tmp_path / "page")
    assert "neither" in refusal(tmp_path / "short")
    assert "is a folder" in refusal(tmp_path)
    assert "no checkpoint at" in refusal(tmp_path / "absent")
    assert "not a regular file" in refusal(tmp_path / "pipe")


@pytest.mark.parametrize(
    "content,part",
    [
        ([1, 2], "holds a list"),
        ({}, "holds no weights"),
        ({"epoch": 3, "model": "xxs"}, "holds no weights"),
        ({"norm.weight": torch.ones(3), "epoch": 3}, "'epoch' is a int"),
        ({"norm.weight": torch.ones(3, dtype=torch.int8)}, "torch.int8"),
        ({"norm.weight": torch.ones(3, 3).to_sparse()}, "not a dense tensor"),
    ],
)
def test_no_state_dict_inside(tmp_path, content, part):
    torch.save(content, tmp_path / "a.pth")
    assert part in refusal(tmp_path / "a.pth")


@pytest.mark.parametrize("name", VARIANTS)
def test_identify(golden_state, name):
    state = golden_state(name)
    assert identify(state) == name
    head = {"head.weight": torch.zeros(10, 4), "head.bias": torch.zeros(10)}
    assert identify({**state, **head}) == name
    few = dict(list(state.items())[5:])
    assert identify(few) == name


def test_identify_nothing(golden_state, narrow_variant):
    assert identify({"conv1.weight": torch.ones(64, 3, 7, 7)}) is None
    assert identify({}) is None
    assert identify(golden_state(narrow_variant)) is None


def test_another_variant(tmp_path, golden_state):
    path = tmp_path / "xs.pth"
    torch.save(golden_state("efficientmod_xs"), path)
    message = refusal(path, XXS)
    assert "doesn't fit efficientmod_xxs: it looks like efficientmod_xs;" in message
    assert "ask for efficientmod_xs" in message
    assert (
        message.count("missing,") + message.count(" has shape") + message.count("unexpected,") >= 3
    )
    assert load_checkpoint(path).variant == "efficientmod_xs"


def test_another_network(tmp_path):
    path = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.ones(64, 3, 7, 7), "bn1.weight": torch.ones(64)}, path)
    message = refusal(path, XXS)
    assert "none of the known variants" in message
    assert "patch_embed.proj.weight missing" in message
    # 209 names of ours are missing, 2 of its own unexpected
    assert "; 211 names" in message
    assert "none of the known variants (efficientformerv2_s0," in refusal(path)


def test_first_names_and_their_number(tmp_path, known_narrow, state):
    path = tmp_path / "a.pth"
    wrong = dict(state)
    del wrong["patch_embed.proj.bias"]
    wrong["norm.weight"] = torch.ones(65)
    wrong["norm.extra"] = torch.ones(1)
    torch.save(wrong, path)
    message = refusal(path, known_narrow)
    assert f"looks like {known_narrow};" in message
    assert (
        "patch_embed.proj.bias missing, norm.weight has shape 65, not 64, norm.extra unexpected; "
        "3 names" in message
    )
    wrong["norm.more"] = torch.ones(1)
    torch.save(wrong, path)
    message = refusal(path, known_narrow)
    assert "norm.more" not in message and "4 names" in message


def test_number_of_classes(tmp_path, known_narrow, state):
    path = tmp_path / "a.pth"
    torch.save(state, path)
    assert load_checkpoint(path, known_narrow, 10).num_classes == 10
    assert "its head has 10; ask for num_classes=10" in refusal(path, known_narrow, 1000)
    del state["head.weight"]
    torch.save(state, path)
    assert "head.weight missing" in refusal(path, known_narrow)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_not_finite(tmp_path, known_narrow, state, value):
    state["layers.2.blocks.1.mlp.fc1.weight"][3, 4] = value
    torch.save(state, tmp_path / "a.pth")
    assert "'layers.2.blocks.1.mlp.fc1.weight'" in refusal(tmp_path / "a.pth")


def test_unknown_name(tmp_path):
    with pytest.raises(UserError, match="efficientmod_xl.*efficientmod_xxs"):
        load_checkpoint(tmp_path / "absent", "efficientmod_xl")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_own_format(tmp_path, known_narrow, state, dtype):
    path = tmp_path / "deep" / "a.safetensors"
    metadata = {"model": known_narrow, "num_classes": "10", "labels": json.dumps(["tench", "é"])}
    save_checkpoint(path, state, metadata, dtype)
    loaded = load_checkpoint(path)
    assert loaded.metadata == metadata
    assert (loaded.variant, loaded.num_classes) == (known_narrow, 10)
    assert {v.dtype for v in loaded.state.values()} == {torch.float32}
    assert set(loaded.state) == set(state)
    assert all(torch.equal(loaded.state[k], v.to(dtype).float()) for k, v in state.items())
    assert os.listdir(path.parent) == ["a.safetensors"]


def test_equal_arguments_give_equal_bytes(tmp_path, state):
    metadata = {f"key{i}": str(i) for i in range(12)}
    save_checkpoint(tmp_path / "a", state, metadata)
    save_checkpoint(tmp_path / "b", state, dict(reversed(metadata.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    # Negative control: the library alone orders the header at random.
    from safetensors.torch import save

    assert len({save(state, metadata=metadata) for _ in range(8)}) > 1


def test_too_large_for_float16(tmp_path, state):
    state["norm.weight"][0] = 1e6
    with pytest.raises(UserError, match="'norm.weight' is not finite as torch.float16"):
        save_checkpoint(tmp_path / "a", state, {})
    assert not list(tmp_path.iterdir())
    save_checkpoint(tmp_path / "a", state, {}, torch.float32)


def test_a_failed_write_keeps_the_old_file(tmp_path):
    """A file size limit stands in for a full disk; both fail inside the write."""
    path = tmp_path / "a"
    save_checkpoint(path, {"x": torch.ones(4)}, {})
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(UserError, match=f"can't write {path}: File too large"):
            save_checkpoint(path, {"x": torch.ones(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == ["a"]
    assert path.read_bytes() == before
    save_checkpoint(path, {"x": torch.ones(100_000)}, {})
    assert len(path.read_bytes()) > 200_000


def test_create_model(tmp_path, known_narrow, narrow_model, state):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, state, {"model": known_narrow}, torch.float32)
    model = mobilemod.create_model(known_narrow, num_classes=10, checkpoint=str(path))
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(x), narrow_model(x))
        other = mobilemod.create_model(known_narrow, num_classes=10)
        assert not torch.equal(other(x), narrow_model(x))
        assert mobilemod.create_model(known_narrow)(x).shape == (1, 1000)
    assert isinstance(model, EfficientMod)
    assert not model.training and not other.training
    with pytest.raises(UserError, match="num_classes=10"):
        mobilemod.create_model(known_narrow, checkpoint=path)
    with pytest.raises(UserError, match="at least 1"):
        mobilemod.create_model(known_narrow, num_classes=0)
    with pytest.raises(UserError, match="unknown model"):
        mobilemod.create_model("resnet50")


def test_loading_leaves_the_random_state(tmp_path, known_narrow, state):
    torch.save(state, tmp_path / "a.pth")
    checkpoints.expected_shapes.cache_clear()
    torch.manual_seed(1)
    load_checkpoint(tmp_path / "a.pth", known_narrow)
    found = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(found, torch.rand(1))
