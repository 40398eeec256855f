"""Checkpoints as people have them: several sets, wrapped names, what is no checkpoint."""

from __future__ import annotations

import enum
import gzip
import json
import pathlib
import pickle
import subprocess
import sys
import tarfile
import types
import zipfile
from collections import OrderedDict
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from export.source import checkpoint_record, open_source
from export.verbs.main import main
from mobilemod.errors import UserError
from mobilemod.networks.checkpoints import load_checkpoint, save_checkpoint
from tests.unit.test_checkpoints import equal, refusal, scaled

INT8 = torch.ones(64, dtype=torch.int8)
FIRST = "patch_embed.proj.weight"


def load(path, content):
    torch.save(content, path)
    return load_checkpoint(path)


@pytest.fixture
def file(tmp_path, known_narrow):
    return tmp_path / "a.pth"


@pytest.mark.parametrize(
    "keys",
    [
        ("state_dict_ema",), ("model_ema",), ("ema",), ("ema_state_dict",), ("ema_model",),
        ("model_ema", "state_dict"), ("model_ema", "module"), ("ema", "shadow"), ("modelEMA",),
        ("teacher_ema", "model", "state_dict"), ("shadow",),
    ],
)  # fmt: skip
@pytest.mark.parametrize("plain", ["state_dict", "model", "model_state_dict"])
def test_averages_come_first_and_are_named(file, narrow_state, keys, plain):
    inner = narrow_state
    for key in reversed(keys):
        inner = {key: inner}
    loaded = load(file, {plain: scaled(narrow_state, 2), **inner, "epoch": 3})
    assert equal(loaded.state, narrow_state)
    assert loaded.taken.weights == f"{'.'.join(keys)} (EMA)"
    assert loaded.taken.others == (f"{plain} (plain)",)
    assert loaded.metadata == {"weights": ".".join(keys)}


@pytest.mark.parametrize("prefix", ["ema.", "ema_model.module.", "model_ema.", "ema._orig_mod."])
def test_averages_under_a_prefix(file, narrow_state, prefix):
    content = {f"model.{k}": v * 2 for k, v in narrow_state.items()}
    content |= {f"{prefix}{k}": v for k, v in narrow_state.items()}
    content |= {f"{prefix}n_averaged": torch.tensor(7), "criterion.weight": torch.ones(3)}
    loaded = load(file, {"state_dict": content})
    assert equal(loaded.state, narrow_state)
    assert "(EMA)" in loaded.taken.weights
    assert loaded.taken.others == ("state_dict, prefix 'model.' (plain)",)
    assert "criterion.weight" in loaded.taken.ignored
    assert any(name.endswith("n_averaged") for name in loaded.taken.ignored)


def test_an_incomplete_average_is_passed_over_aloud(file, narrow_state):
    few = dict(list(narrow_state.items())[3:])
    loaded = load(file, {"state_dict": narrow_state, "model_ema": few, "ema": [torch.ones(3)]})
    assert equal(loaded.state, narrow_state)
    assert loaded.taken.weights == "state_dict (plain)"
    assert loaded.taken.others == ("model_ema (EMA, 3 names missing or other)", "ema (no names)")


def test_the_student_before_its_teacher(file, narrow_state):
    content = {f"teacher.{k}": v * 2 for k, v in narrow_state.items()}
    content |= {f"student.{k}": v for k, v in narrow_state.items()}
    loaded = load(file, content)
    assert equal(loaded.state, narrow_state)
    assert "teacher." in loaded.taken.others[0]


@pytest.mark.parametrize(
    "prefix",
    [
        "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.", "model.", "backbone.",
        "net.", "student.", "module.module.", "a.b.c.", "model.backbone.net.", "encoder-1.0.",
    ],
)  # fmt: skip
@pytest.mark.parametrize("format", ["torch", "safetensors"])
def test_any_common_prefix(file, narrow_state, prefix, format):
    content = {f"{prefix}{k}": v for k, v in narrow_state.items()}
    if format == "torch":
        loaded = load(file, content)
    else:
        save_file(content, file)
        loaded = load_checkpoint(file)
    assert set(loaded.state) == set(narrow_state)
    assert all(torch.equal(loaded.state[k], v) for k, v in narrow_state.items())


def test_wrappers_within_names(file, narrow_state):
    content = {k.replace(".blocks.", ".blocks._orig_mod."): v for k, v in narrow_state.items()}
    assert equal(load(file, content).state, narrow_state)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_counters_are_named_and_ignored(file, narrow_state, prefix):
    counters = {
        "total_ops": torch.zeros(1, dtype=torch.float64),
        "layers.0.total_params": torch.zeros(1, dtype=torch.float64),
        "norm.num_batches_tracked": torch.tensor(5),
    }
    content = {f"{prefix}{k}": v for k, v in {**narrow_state, **counters}.items()}
    content["n_averaged"] = torch.tensor(9)
    loaded = load(file, content)
    assert equal(loaded.state, narrow_state)
    found = {name.removeprefix(prefix) for name in loaded.taken.ignored}
    assert found == {*counters, "n_averaged"}
    assert "and 1 more" in str(loaded.taken)


def test_extra_names(file, narrow_state):
    """Even many of them: the network is there."""
    extra = {f"aux.{i}.weight": torch.ones(2) for i in range(500)}
    torch.save({**narrow_state, **extra}, file)
    message = refusal(file)
    assert "looks like none" not in message
    assert "holds all of efficientmod_narrow and 500 names more (aux.0.weight, aux.1" in message
    assert "and 497 more" in message and "save its state dict without them" in message


def test_missing_names_and_other_shapes(file, narrow_state):
    missing = {k: v for k, v in narrow_state.items() if k != "norm.bias"}
    torch.save(missing, file)
    message = refusal(file)
    assert "norm.bias missing; 1 names" in message and "save the whole" in message
    torch.save({**narrow_state, "norm.bias": torch.ones(9)}, file)
    assert "norm.bias has shape 9, not 64" in refusal(file)
    torch.save(narrow_state, file)
    message = refusal(file, "efficientmod_narrow", 7)
    assert "head.weight has shape 10x64, not 7x64" in message and "num_classes=10" in message


@pytest.mark.parametrize(
    "value,says",
    [
        (torch.full((64,), 1e300, dtype=torch.float64), "beyond float32's range (up to 1e+300)"),
        (torch.full((64,), torch.nan), "not finite"),
        (torch.full((64,), torch.inf, dtype=torch.float16), "not finite"),
        (torch.ones(64, dtype=torch.int64), "torch.int64"),
        (torch.ones(64, dtype=torch.complex64), "torch.complex64"),
        (torch.ones(64, dtype=torch.bool), "torch.bool"),
        (torch.ones(64).to(torch.float8_e4m3fn), "torch.float8_e4m3fn"),
        (torch.ones(64).to_sparse(), "not a dense tensor"),
        (torch._make_per_tensor_quantized_tensor(INT8, 0.1, 0), "torch.qint8"),
        (torch.empty(64, device="meta"), "meta device"),
        (3.5, "is a float"),
        ("text", "is a str"),
        (None, "is a NoneType"),
        (np.float64(3), "not a dense tensor"),
    ],
)
def test_values_that_are_no_weights(file, narrow_state, value, says):
    torch.save({**narrow_state, "norm.weight": value}, file)
    message = refusal(file)
    assert "'norm.weight'" in message and says in message


def test_shared_memory_becomes_each_its_own(file, narrow_state):
    """What `torch.save` keeps tied, and a scalar stretched over a shape, can be written again."""
    big = torch.ones(1000)
    narrow_state["norm.weight"], narrow_state["norm.bias"] = big[:64], big[:64]
    narrow_state["layers.0.blocks.0.norm.weight"] = torch.ones(1).expand(16)
    loaded = load(file, narrow_state)
    assert equal(loaded.state, narrow_state)
    loaded.state["norm.weight"] += 1
    assert bool((loaded.state["norm.bias"] == 1).all())
    save_checkpoint(file.with_suffix(".safetensors"), load_checkpoint(file).state, {})


class Settings:
    """A class that only its training script has."""

    def __init__(self):
        self.lr = 0.1


class Loss(enum.Enum):
    CE = "ce"


class AttributeDict(dict):
    """As Lightning's."""


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_lightning_with_classes_of_its_script(file, narrow_state, monkeypatch):
    content = {
        "state_dict": {f"model.{k}": v for k, v in narrow_state.items()},
        "hyper_parameters": AttributeDict(config=Settings(), root=pathlib.PurePosixPath("/x")),
        "callbacks": {"best": np.ones(3), "loss": Loss.CE},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
    }
    torch.save(content, file)
    made = []
    monkeypatch.setattr(Settings, "__setstate__", lambda *_: made.append(1), raising=False)
    assert equal(load_checkpoint(file).state, narrow_state)
    assert not made  # the classes themselves are never touched


@pytest.mark.parametrize("where", ["hyper_parameters", "state_dict"])
@pytest.mark.parametrize("kind", ["popen", "eval", "getattr"])
def test_attacks_are_refused(file, narrow_state, where, kind):
    marker = file.with_name("ran")
    attack = {
        "popen": Attack(subprocess.Popen, ["touch", str(marker)]),
        "eval": Attack(eval, f"open({str(marker)!r}, 'w')"),
        "getattr": Attack(getattr, Settings, "__init__"),
    }[kind]
    content = {"state_dict": dict(narrow_state), "hyper_parameters": {}}
    content[where]["x"] = attack
    torch.save(content, file)
    message = refusal(file)
    assert "would run code" in message and "torch.save(model.state_dict()" in message
    assert not marker.exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_whole_models_and_programs(file, narrow_model):
    torch.save(nn.DataParallel(narrow_model), file)
    assert "DataParallel" in refusal(file)
    torch.save({"model": narrow_model, "epoch": 3}, file)
    assert "EfficientMod" in refusal(file)
    torch.save(Settings(), file)
    assert "Settings, not a state dict" in refusal(file)
    torch.jit.script(nn.Linear(2, 2)).save(file)
    assert "TorchScript archive" in refusal(file)


@pytest.mark.parametrize(
    "content,says",
    [
        (b"\x1f\x8b\x08\0rest", "packed (gzip)"),
        (b"BZh91AY", "packed (bzip2)"),
        (b"<!DOCTYPE html>\n<html>403 Forbidden</html>", "web page"),
        (b"\n  <?xml version='1.0'?><Error/>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b'{"metadata": {"total_size": 9}, "weight_map": {}}', "an index of shards"),
        (b'{\n "message": "Not Found"}', "is JSON"),
        (pickle.dumps({"a": [1] * 20}), "a pickle that PyTorch didn't write"),
        (b"\x89HDF\r\n\x1a\n", "neither"),
        (b"   ", "neither"),
    ],
)
def test_what_downloads_leave(file, content, says):
    file.write_bytes(content)
    assert says in refusal(file)


def test_archives(file, narrow_state):
    inner = file.with_name("inner.pth")
    torch.save(narrow_state, inner)
    with zipfile.ZipFile(file, "w") as archive:
        archive.write(inner, "weights/inner.pth")
    assert "zip archive without PyTorch's data.pkl (it holds 'weights/inner.pth')" in refusal(file)
    with tarfile.open(file, "w") as archive:
        archive.add(inner, "inner.pth")
    assert "packed (tar)" in refusal(file)
    file.write_bytes(gzip.compress(inner.read_bytes()))
    assert "packed (gzip)" in refusal(file)


def test_files_without_weights(file):
    parameters = nn.Linear(3, 3).parameters()
    torch.save({"optimizer": torch.optim.AdamW(parameters).state_dict(), "epoch": 3}, file)
    assert "holds no weights" in refusal(file)
    assert "it holds optimizer, epoch" in refusal(file)
    torch.save({"total_ops": torch.ones(1)}, file)
    assert "holds no weights" in refusal(file)


def test_hostile_structures_end_soon(file):
    """Mappings within themselves, and a small storage stretched to terabytes."""
    loop: OrderedDict = OrderedDict()
    for i in range(300):
        loop[str(i)] = loop
    layer = {str(i): loop for i in range(300)}
    torch.save({str(i): layer for i in range(300)}, file)
    assert "holds no weights" in refusal(file)
    torch.save({FIRST: torch.ones(1).expand(10**6, 10**7), "norm.bias": torch.ones(3)}, file)
    assert "looks like none" in refusal(file)


@pytest.mark.parametrize(
    "labels,says",
    [
        ("tench, goldfish", "no JSON list"),
        ('{"0": "tench"}', "no JSON list"),
        ("[1, 2]", "no JSON list"),
        ("[" * 100_000, "no JSON list"),
        (json.dumps(["a", "b"]), "2 labels for 10 classes"),
        (json.dumps(["a"] * 10), "'a' twice"),
    ],
)
def test_labels_in_metadata(file, known_narrow, narrow_state, labels, says):
    save_checkpoint(file, narrow_state, {"labels": labels})
    with pytest.raises(UserError) as caught:
        open_source(known_narrow, file, None)
    assert says in str(caught.value) and str(file) in str(caught.value)


def test_the_manifest_says_what_was_taken(file, known_narrow, narrow_state):
    counters = {"total_ops": torch.ones(1)}
    torch.save({"state_dict": scaled(narrow_state, 2), "ema": narrow_state | counters}, file)
    source = open_source(known_narrow, file, None)
    record = checkpoint_record(source)
    assert record["taken"] == "ema (EMA)"
    assert record["others"] == ["state_dict (plain)"]
    assert record["ignored"] == ["total_ops"]
    text = "weights of a.pth: ema (EMA); also there: state_dict (plain); ignored: total_ops"
    assert source.summary == text


def test_the_command_line_ends_in_one_line(file, narrow_state, capsys):
    big = torch.full((64,), 1e300, dtype=torch.float64)
    torch.save({**narrow_state, "norm.weight": big}, file)
    out = file.with_name("out")
    arguments = ["export", "--model", "efficientmod_narrow", "--checkpoint", str(file)]
    assert main([*arguments, "--out", str(out)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "'norm.weight' holds values beyond float32" in lines[0]
    assert not out.exists()


@pytest.mark.parametrize("module", ["pathlib", "pathlib._local"])
@pytest.mark.parametrize("kind", ["PosixPath", "PurePosixPath", "WindowsPath", "PurePath"])
def test_paths_of_every_python_are_data(tmp_path, narrow_state, known_narrow, module, kind):
    """Python 3.13 pickles its paths as `pathlib._local`'s."""
    here = types.ModuleType(module)
    here.Kept = type(kind, (), {"__module__": module})
    setattr(here, kind, here.Kept)
    with mock.patch.dict(sys.modules, {module: here}):
        torch.save({"state_dict": narrow_state, "out": here.Kept()}, tmp_path / "a.pth")
    assert load_checkpoint(tmp_path / "a.pth", known_narrow).state.keys() == narrow_state.keys()
