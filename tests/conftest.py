"""Fixtures that several test modules share. torch is imported by those that need it only."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from filelock import FileLock

from export.verbs.main import main
from tests.commands import COMMAND, ROOT

if TYPE_CHECKING:
    from torch import Tensor

    from mobilemod.forms.canonical import Canonical
    from mobilemod.networks.efficientmod import EfficientMod, Variant

TEST_DATA = Path(__file__).parent / "data"


def pytest_configure(config: pytest.Config) -> None:
    """Of several test processes each has a core of its own: an export that it starts has one
    worker, which imports the frameworks once."""
    name = getattr(config, "workerinput", {}).get("workerid", "")
    if name and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(name.removeprefix("gw")) % len(cores)]})


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The Imagenette folder (train/ and val/), from the environment variable MOBILEMOD_DATA."""
    value = os.environ.get("MOBILEMOD_DATA")
    if not value:
        pytest.skip("needs the images: set MOBILEMOD_DATA to the Imagenette folder ('make data')")
    path = Path(value)
    if not (path / "val").is_dir():
        pytest.fail(f"MOBILEMOD_DATA={value} holds no val/ folder")
    return path


@pytest.fixture(scope="session")
def adb(tmp_path_factory) -> Iterator[dict[str, str]]:
    """An adb server of the session's own; what it adds to the environment, which it is used by."""
    from tests.adbd.device import adb_server, can_emulate

    if (why := can_emulate()) is not None:
        pytest.skip(why)
    with adb_server(tmp_path_factory.mktemp("adb")) as own:
        yield own


@pytest.fixture(scope="session")
def on_a_gpu() -> None:
    """Skips the test, with the line that a user gets, where there is no GPU."""
    from tests.gpus import lacking

    if (why := lacking()) is not None:
        pytest.skip(why)


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """The published network's shapes and golden logits."""
    return TEST_DATA / "efficientmod"


@pytest.fixture(scope="session")
def golden_state() -> Callable[[Variant | str], dict[str, Tensor]]:
    """`golden_state(variant)`: the 1,000-class weights of the golden logits."""
    from mobilemod.networks.registry import get_variant
    from mobilemod.networks.synthetic import trained_like_state

    return lambda variant: trained_like_state(
        get_variant(variant) if isinstance(variant, str) else variant
    )


@pytest.fixture(scope="session")
def golden_input() -> Callable[[int], Tensor]:
    """`golden_input(size)`: float32 (2, 3, size, size), the input of the golden logits."""
    import torch

    def make(size: int) -> Tensor:
        rng = np.random.default_rng(20240330)
        return torch.from_numpy(rng.standard_normal((2, 3, size, size)).astype(np.float32))

    return make


@pytest.fixture(scope="session")
def narrow_variant() -> Variant:
    """A tiny network with every op of the real ones; not among the known variants.

    Modulation of both kinds (ratio 1 and 6) in every stage, attention in the last two with both
    ratios that occur (4 and 5).
    """
    from mobilemod.networks.efficientmod import Variant

    return Variant(
        "efficientmod_narrow", (16, 24, 32, 64), (2, 2, 2, 2), (0, 0, 1, 1), 6, (4, 4, 4, 5)
    )


@pytest.fixture(scope="session")
def shallow_variant(narrow_variant: Variant) -> Variant:
    """`narrow_variant` with a block of each kind only: lowered in half the time."""
    return dataclasses.replace(narrow_variant, name="efficientmod_shallow", blocks=(2, 0, 0, 0))


@pytest.fixture(scope="session")
def narrow_model(narrow_variant: Variant) -> EfficientMod:
    """`narrow_variant` with ten classes and weights of trained-like spread, evaluation mode.

    Shared by the whole session: copy it before changing it.
    """
    return _trained_like(narrow_variant)


@pytest.fixture(scope="session")
def shallow_model(shallow_variant: Variant) -> EfficientMod:
    """As `narrow_model`, of `shallow_variant`."""
    return _trained_like(shallow_variant)


@pytest.fixture(scope="session")
def narrow_form(narrow_model: EfficientMod) -> Canonical:
    """The canonical form of `narrow_model` for images of 64 pixels; nothing changes it."""
    return _captured(narrow_model, 64)


@pytest.fixture(scope="session")
def shallow_form(shallow_model: EfficientMod) -> Canonical:
    """As `narrow_form`, of `shallow_model`."""
    return _captured(shallow_model, 64)


@pytest.fixture(scope="session")
def bundled_form() -> Canonical:
    """The canonical form of the bundled network for images of 224 pixels; nothing changes it."""
    from export.source import bundled_checkpoint
    from mobilemod.networks.checkpoints import load_checkpoint
    from mobilemod.networks.registry import network

    name = "efficientmod_xxs"
    loaded = load_checkpoint(bundled_checkpoint(name), name)
    return _captured(network(name, loaded.num_classes, loaded.state), 224)


def _captured(model: EfficientMod, size: int) -> Canonical:
    from mobilemod.forms.canonical import canonical_form

    return canonical_form(model, (3, size, size))


def _trained_like(variant: Variant) -> EfficientMod:
    from mobilemod.networks.efficientmod import EfficientMod
    from mobilemod.networks.synthetic import trained_like_state

    model = EfficientMod(variant, 10)
    model.load_state_dict(trained_like_state(variant, 10))
    return model.eval()


@pytest.fixture
def known_narrow(narrow_variant: Variant, monkeypatch) -> str:
    """The name of `narrow_variant`, among the known variants for this test only."""
    from mobilemod.networks.efficientmod import VARIANTS

    monkeypatch.setitem(VARIANTS, narrow_variant.name, narrow_variant)
    return narrow_variant.name


@pytest.fixture
def narrow_state(narrow_model: EfficientMod) -> dict[str, Tensor]:
    """`narrow_model`'s weights, copies."""
    return {k: v.clone() for k, v in narrow_model.state_dict().items()}


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> dict[str, str]:
    """The environment of a run: no data by default, one cache for all processes of the tests."""
    own = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        own = own.parent
    cache = os.environ.get("MOBILEMOD_CACHE") or str(own / "mobilemod-cache")
    drop = {"MOBILEMOD_DATA"}
    return {k: v for k, v in os.environ.items() if k not in drop} | {"MOBILEMOD_CACHE": cache}


@pytest.fixture(scope="session")
def run(environment):
    """`run("export", …)`: the finished process, output as text."""

    def call(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            cwd=ROOT,
            env={**environment, **more},
            capture_output=True,
            text=True,
        )

    return call


@pytest.fixture(scope="session")
def export(run, environment):
    """`export(out, "--targets", …)`: a whole bundle; the finished process.

    One at a time: an export uses every core, and the next finds in the cache what it lowered.
    """
    lock = FileLock(Path(environment["MOBILEMOD_CACHE"]).with_suffix(".lock"))

    def call(out: Path, *options: object, **more: str) -> subprocess.CompletedProcess[str]:
        with lock:
            done = run("export", *options, "--out", out, **more)
        assert done.returncode == 0, done.stderr
        return done

    return call


@pytest.fixture
def here(environment, monkeypatch, capsys):
    """As `run`, in this process: for what ends before any work, without the seconds of imports."""

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = [str(a) for a in arguments]
        code = main(words)
        said = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, said.out, said.err)

    monkeypatch.delenv("MOBILEMOD_DATA", raising=False)
    monkeypatch.setenv("MOBILEMOD_CACHE", environment["MOBILEMOD_CACHE"])
    return call
