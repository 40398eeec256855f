"""Files that onnx2tf really makes: what they compute, what is int8, what reads and runs them.

Needs 'make onnx2tf'.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from export.auditing.audit import inspect_file
from export.targets.base import FORMS, ModelInfo
from export.targets.target import get_target, require_packages
from export.targets.tflite_onnx2tf.check import precision_of
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.targets import RUNTIMES
from mobilemod.targets.tflite_onnx2tf import FACTS

TARGET = get_target(FACTS.name)
PREPROCESS = Preprocess(size=64)
INFO = ModelInfo("small", tuple(f"class {i}" for i in range(10)), PREPROCESS)


def lacking() -> str | None:
    """Why onnx2tf makes nothing here."""
    try:
        require_packages(FACTS.name)
    except UserError as error:
        return str(error)
    return None


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(lacking() is not None, reason=str(lacking())),
]


@pytest.fixture(scope="module")
def form(shallow_form):
    return shallow_form.form(FORMS[FACTS.form])


@pytest.fixture(scope="module")
def files(form, tmp_path_factory):
    """Precision -> the file, all of one run of onnx2tf."""
    folder = tmp_path_factory.mktemp("onnx2tf")
    images = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), np.uint8)
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOBILEMOD_CACHE", str(folder / "cache"))
        for precision in ("int8", FACTS.twin, *FACTS.more_floats):
            path = found[precision] = folder / f"small_{precision}{FACTS.suffix}"
            info = dataclasses.replace(INFO, precision=precision, images=images)
            TARGET.lower(form, info, path, int8=precision == "int8")
        assert len(list((folder / "cache" / "onnx2tf").glob("*/*"))) == 1
    return found


def test_each_file_is_what_it_says(files, form):
    images = np.random.default_rng(1).standard_normal((2, 3, 64, 64), np.float32)
    for precision, path in files.items():
        assert precision_of(path) == precision
        TARGET.check(path, form, images)
        audit = inspect_file(path)
        assert audit.target == FACTS.name
        assert audit.int8_share == (1.0 if precision == "int8" else 0.0)


def test_another_network_s_file_is_refused(files, form):
    images = np.random.default_rng(1).standard_normal((2, 3, 64, 64), np.float32)
    with pytest.raises(UserError, match="the file doesn't compute what its program does"):
        TARGET.check(files["float32"], lambda x: -form(x), images)


def test_labels_are_not_written_into_it(files, tmp_path):
    path = tmp_path / "named.onnx2tf.tflite"
    TARGET.label(files["int8"], INFO, path, int8=True)
    assert path.read_bytes() == files["int8"].read_bytes()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_files_in_another_runtime(files, runtime):
    x = np.random.default_rng(1).standard_normal((2, 3, 64, 64), np.float32)
    for precision, path in files.items():
        try:
            other = TARGET.load_in(runtime, path)
        except UserError as error:
            pytest.skip(str(error))
        own = TARGET.load(path).run_many(x)
        assert sqnr_db(own, other.run_many(x)) > (10 if precision == "int8" else 60)
