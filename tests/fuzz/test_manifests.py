"""Damaged and hostile manifests: a verb does its work or says one line, whatever they hold."""

from __future__ import annotations

import collections
import contextlib
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from export.measure.validation import validate_bundle
from export.verbs.main import main
from mobilemod.apps import APPS, put_in_apps
from mobilemod.errors import UserError
from mobilemod.manifest import FILE_NAME, load_bundle
from mobilemod.results.gates import Gates
from tests.fuzz.manifests import mutant
from tests.manifests import read_manifest
from tests.tiny_bundle import make_bundle

COUNT = int(os.environ.get("MOBILEMOD_FUZZ", "1000"))
SEED = int(os.environ.get("MOBILEMOD_FUZZ_SEED", "1"))
SHARE = 50  # of how many mutants one goes through the verbs, beside as many that are loaded
UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """A small bundle with a record to report."""
    folder = make_bundle(tmp_path_factory.mktemp("fuzz") / "tiny")
    validate_bundle(folder, None, Gates())
    return folder


@pytest.fixture(scope="module")
def mutants(bundle) -> Callable[[], Iterator[int]]:
    """Writes one mutant after the other into the bundle, and gives its number."""
    values = read_manifest(bundle)

    def each() -> Iterator[int]:
        for number in range(COUNT):
            (bundle / FILE_NAME).write_bytes(mutant(values, SEED, number))
            yield number

    return each


def test_mutants_are_loaded_or_refused(bundle, mutants):
    outcomes, slowest = collections.Counter(), 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in mutants():
        start = time.perf_counter()
        try:
            loaded = load_bundle(bundle)
            # What every reader relies on.
            assert loaded.preprocess.size and len(loaded.label_ids) == len(loaded.label_names)
            outcomes["loaded"] += 1
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 1000, number
            outcomes["refused"] += 1
        except Exception as error:
            raise AssertionError(f"mutant {number} of seed {SEED}") from error
        slowest = max(slowest, time.perf_counter() - start)
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * UNIT / 2**20
    print(f"{COUNT} manifests: {dict(outcomes)}, slowest {slowest:.2f} s, {more:.0f} MB more")
    assert slowest < 10 and more < 200
    assert outcomes["loaded"] > COUNT // 100  # some changes do no harm


def test_verbs_end_well_on_mutants(bundle, mutants, tmp_path, capsys):
    (tmp_path / "apps" / "web").mkdir(parents=True)
    codes, loaded = collections.Counter(), 0
    verbs = (
        ["inspect", bundle / "tiny_int8.tflite"],
        ["report", bundle],
        ["validate", bundle, "--data", tmp_path / "none"],
    )
    for number in mutants():
        sound = is_sound(bundle) and loaded < COUNT // SHARE
        if not sound and number % SHARE:
            continue
        loaded += sound
        for call in (lambda: validate_bundle(bundle, None, Gates()), apps(bundle, tmp_path)):
            with contextlib.suppress(UserError):
                call()
        for verb in verbs:
            start = time.perf_counter()
            code = main([str(v) for v in verb])
            out, err = capsys.readouterr()
            assert code in (0, 2), f"mutant {number} of seed {SEED}: {verb[0]} {err}"
            # A report tells of a record that isn't of the bundle as it is now.
            told = code == 2 or "is the record of another bundle" in err
            assert err.count("\n") == told, err
            assert "\x1b" not in out + err and time.perf_counter() - start < 10, number
            codes[verb[0], code] += 1
    print(f"{loaded} loaded", dict(codes))
    assert codes["inspect", 2] and codes["report", 2] and codes["validate", 2]


def is_sound(bundle: Path) -> bool:
    """Whether the loader takes it."""
    try:
        load_bundle(bundle)
    except UserError:
        return False
    return True


def apps(bundle: Path, folder: Path) -> Callable[[], None]:
    """Puts the bundle into an app, where it must be a whole one again."""

    def put() -> None:
        put_in_apps(bundle, ("web",), folder / "apps")
        load_bundle(folder / "apps" / APPS["web"].folder)

    return put
