"""Bad input: one clear line on stderr, exit code 2, nothing half-written."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from export.source import bundled_checkpoint
from mobilemod.networks.checkpoints import load_checkpoint
from tests.commands import COMMAND, said
from tests.toys import TOY, at, environment, make_tree


def fails(process: subprocess.CompletedProcess[str], *says: str) -> None:
    """Exit code 2, and one line on stderr that holds each of `says`."""
    assert process.returncode == 2, process.stderr
    lines = said(process)
    assert len(lines) == 1 and lines[0].startswith("mobilemod: error: "), process.stderr
    for text in says:
        assert text in lines[0]


@pytest.fixture
def out(tmp_path) -> Path:
    """Where the bundle would go; the folder around it must be empty afterwards."""
    folder = tmp_path / "out"
    folder.mkdir()
    yield folder / "bundle"
    assert list(folder.iterdir()) == []


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    return bundled_checkpoint("efficientmod_xxs")


def test_truncated_checkpoint(here, out, checkpoint, tmp_path):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(checkpoint.read_bytes()[:100_000])
    fails(here("export", "--checkpoint", path, "--out", out), str(path))


def test_truncated_training_file(here, out, tmp_path, checkpoint):
    path = tmp_path / "whole.pth"
    torch.save({"state_dict": load_checkpoint(checkpoint).state}, path)
    cut = tmp_path / "cut.pth"
    cut.write_bytes(path.read_bytes()[:-5000])
    fails(here("export", "--checkpoint", cut, "--out", out), str(cut))


def test_another_networks_checkpoint(here, out, tmp_path):
    path = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.bias": torch.zeros(10)}, path)
    fails(here("export", "--checkpoint", path, "--out", out), "efficientmod_xxs", "missing")


def test_another_variants_checkpoint(here, out, checkpoint):
    process = here("export", "--model", "efficientmod_s", "--checkpoint", checkpoint, "--out", out)
    fails(process, "efficientmod_s", "efficientmod_xxs")


class Runs:
    """A pickle that would make a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_that_would_run_code(here, out, tmp_path):
    trace = tmp_path / "trace"
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"state_dict": Runs(trace)}))
    fails(here("export", "--checkpoint", path, "--out", out), str(path))
    torch.save({"state_dict": Runs(trace)}, path)
    fails(here("export", "--checkpoint", path, "--out", out), str(path))
    assert not trace.exists()


def test_empty_data_folder(here, out, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    fails(here("export", "--data", data, "--out", out), str(data), "class folders")


def test_missing_data_folder(here, out, tmp_path):
    fails(here("export", "--data", tmp_path / "nowhere", "--out", out), "nowhere")


def test_one_class_missing(here, out, tmp_path):
    ids = json.loads(load_checkpoint(bundled_checkpoint("efficientmod_xxs")).metadata["labels"])
    for name in ids[1:]:
        folder = tmp_path / "data" / "train" / name
        folder.mkdir(parents=True)
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / "a.png")
    fails(here("export", "--data", tmp_path / "data", "--out", out), ids[0])


def test_misspelled_recipe_key(here, out, tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text('{"name": "mine", "rules": [{"tensor": "*", "dtype": "int8"}]}')
    fails(here("export", "--recipe", path, "--out", out), "'tensor'", "tensors")


def test_unknown_target(run, out):
    fails(run("export", "--targets", "tflite,onnx", "--out", out), "'onnx'", "executorch")


def test_unknown_model(here, out):
    fails(here("export", "--model", "efficientmod_xl", "--out", out), "efficientmod_xl")


def test_no_checkpoint_for_the_variant(here, out):
    fails(here("export", "--model", "efficientmod_s", "--out", out), "CHECKPOINT")


def test_a_float_recipe_fails_with_module_and_remedy(toy, lowered, out, tmp_path):
    recipe = tmp_path / "recipe.json"
    rules = [
        {"tensors": "*", "dtype": "float"},
        {"tensors": "fc*", "dtype": "int8"},
    ]
    recipe.write_text(json.dumps({"name": "mine", "rules": rules}))
    words = ("export", *TOY, "--recipe", recipe, "--out", out)
    process = toy(*words, MOBILEMOD_CACHE=str(copy_of(lowered, tmp_path / "cache")))
    fails(process, "int8", ":weight", "recipe")


@contextmanager
def small_disk(folder: Path, size: str):
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return make_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def toy(tree):
    """As `run`, in the tree."""
    return partial(at, tree, *COMMAND[1:])


@pytest.fixture(scope="module")
def lowered(toy, tree) -> Path:
    """A cache that holds what `TOY` lowers, and nothing else."""
    made = toy("export", *TOY, "--out", "bundle")
    assert made.returncode == 0 and "peak" in made.stdout, made.stderr
    return tree / "cache"


def programs(cache: Path) -> dict[str, Path]:
    """The lowered programs of a cache, by precision, without the labelled copies."""
    files = list(cache.glob("lowered/*/model_*.pte"))
    found = {p.stem.rpartition("_")[2]: p for p in files}
    assert set(found) == {"int8", "float32"} and len(files) == 2
    return found


def copy_of(cache: Path, to: Path) -> Path:
    """`cache` without the labelled files."""
    kept = {p.parent.name for p in programs(cache).values()}
    for folder in cache.glob("*/*"):
        if folder.parent.name != "lowered" or folder.name in kept:
            shutil.copytree(folder, to / folder.parent.name / folder.name)
    return to


def test_full_disk(toy, lowered, tmp_path):
    disk = tmp_path / "disk"
    with small_disk(disk, "3m"):
        out = disk / "bundle"
        words = ("export", *TOY, "--out", out)
        fails(toy(*words, MOBILEMOD_CACHE=str(lowered)), "no space left")
        assert list(disk.iterdir()) == []


def test_full_disk_of_the_cache(toy, lowered, tmp_path):
    disk = tmp_path / "disk"
    ready = copy_of(lowered, tmp_path / "ready")
    held = sum(p.stat().st_size for p in ready.rglob("*"))
    with small_disk(disk, f"{held + 2_000_000}"):
        cache = shutil.copytree(ready, disk / "cache")
        before = {p for p in cache.rglob("*") if p.is_file()}
        out = tmp_path / "bundle"
        words = ("export", *TOY, "--author", "me", "--out", out)
        fails(toy(*words, MOBILEMOD_CACHE=str(cache)), "no space left")
        assert not out.exists()
        files = {p for p in disk.rglob("*") if p.is_file()}
        assert before <= files and all(p.suffix == ".json" for p in files - before)


@pytest.mark.slow
def test_kill_in_mid_export_then_again(toy, tree, lowered, tmp_path):
    cache, out = copy_of(lowered, tmp_path / "cache"), tmp_path / "out" / "bundle"
    shutil.rmtree(programs(cache)["int8"].parent)
    arguments = ["export", *TOY, "--out", str(out)]
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=tree,
        env={**environment(tree), "MOBILEMOD_CACHE": str(cache)},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not [p for p in cache.glob("lowered/*") if not list(p.iterdir())]:
        assert time.monotonic() < deadline
        assert process.poll() is None, "the export ended before it could be killed"
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    deadline = time.monotonic() + 20
    while _session(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _session(process.pid), "workers outlive their parent"
    again = toy(*arguments, MOBILEMOD_CACHE=str(cache))
    assert again.returncode == 0, again.stderr
    assert (out / "manifest.json").is_file()
    assert [p.name for p in out.parent.iterdir()] == ["bundle"]


def _session(leader: int) -> list[str]:
    """Process ids of the session that `leader` began."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(stat.parent.name)
    return found


def test_a_changed_model_file_is_refused(toy, lowered, tmp_path):
    out = tmp_path / "bundle"
    shutil.copytree(lowered.with_name("bundle"), out)
    file = next(out.glob("*_int8.pte"))
    shutil.copyfile(next(out.glob("*_float32.pte")), file)
    fails(toy("validate", out, "--audit-only"), file.name, "sha256")


def test_no_bundle(here, tmp_path):
    fails(here("validate", tmp_path, "--audit-only"), "manifest.json")
    fails(here("inspect", tmp_path / "a.pte"), "no such model file")
