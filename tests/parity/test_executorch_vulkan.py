"""A `.pte` with Vulkan's delegate: what is in it, from the file alone. Nothing here runs one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from export.auditing.audit import audit_file
from export.auditing.text import format_audit
from export.targets.base import ModelInfo
from export.targets.executorch.reader import read_pte
from export.targets.target import get_target
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.targets.executorch_vulkan import FACTS
from quantization.program import quantize
from tests.parity.small import SIZE, small_form, small_table
from tests.parity.test_coreml import pictures

INFO = ModelInfo("small", ("a", "b"), Preprocess(size=SIZE))
TARGET = get_target(FACTS.name)
MODELS = Path(__file__).resolve().parents[1] / "data" / "models"
# `Small`, lowered by this target.
SAMPLE = MODELS / f"w8{FACTS.suffix}"
MACS = {"first": 8 * 8 * 32 * 48, "deep": 8 * 8 * 32 * 9, "qkv": 3 * 16 * 32 * 32, "last": 64}


def test_every_convolution_is_int8_in_one_partition():
    audit = audit_file(SAMPLE)
    assert (audit.partitions, audit.outside, audit.opaque) == (1, {}, {})
    assert audit.macs == sum(MACS.values()) and audit.int8_share == 1.0
    assert audit.matmul_macs == 2 * 16 * 16 * 32 and audit.int8_matmul_macs == 0
    assert "gelu" in {f.op for f in audit.float_ops}  # no table here, as XNNPACK makes
    assert "GELUs are the tanh approximation" in format_audit(audit)


def test_another_exporter_s_file_is_read_too(tmp_path):
    path = tmp_path / f"other{FACTS.suffix}"
    shutil.copy(MODELS / "vulkan.pte", path)
    audit = audit_file(path)
    assert audit.partitions == 2 and audit.opaque == {} and audit.macs > 0
    assert audit.int8_share == 0.0


@pytest.mark.parametrize("place", ["header", "graph", "cut"])
def test_a_damaged_file_is_one_line(place, tmp_path):
    path, content = tmp_path / f"bad{FACTS.suffix}", SAMPLE.read_bytes()
    ((_, block),) = read_pte(SAMPLE).opaque.values()
    start = content.index(bytes(block[:200]))
    where = {"header": start + 4, "graph": start + 32}.get(place, len(content) // 2)
    rest = b"" if place == "cut" else content[where + 8 :]
    path.write_bytes(content[:where] + b"\xff" * 8 + rest)
    with pytest.raises(UserError, match=r"bad\.vulkan\.pte: damaged") as caught:
        TARGET.read_graph(path)
    assert "\n" not in str(caught.value)


def test_a_pte_of_another_delegate_is_told(tmp_path):
    path = tmp_path / f"a{FACTS.suffix}"
    shutil.copy(MODELS / "act_relu.pte", path)
    with pytest.raises(UserError, match="expected the delegate VulkanBackend, found none"):
        TARGET.read_graph(path)


@pytest.mark.slow
def test_the_table_s_scales_stand_in_the_file(tmp_path):
    form = small_form(FACTS)
    table = small_table(form, FACTS, pictures(2, SIZE))
    path = tmp_path / f"small{FACTS.suffix}"
    TARGET.lower(quantize(form, table, FACTS.fold), INFO, path, int8=True)
    tensors = TARGET.read_graph(path).tensors.values()
    found = {(t.scale, t.zero_point) for t in tensors if len(t.scale) == 1}
    entries = table.entries.values()
    activations = [e for e in entries if e.kind == "activation"]
    assert found <= {(e.scale, e.zero_point) for e in activations}
    # ExecuTorch's passes make a float pool of an int8 one: its codes go.
    left = {e.tensor for e in activations if (e.scale, e.zero_point) not in found}
    assert left == {"deep:gelu", "deep:pool"}
    scales = {np.float16(t.scale).tobytes() for t in tensors if len(t.scale) > 1}
    assert scales >= {np.float16(e.scale).tobytes() for e in entries if e.kind == "weight"}
