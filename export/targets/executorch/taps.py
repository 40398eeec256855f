"""The tensors of a `.pte`, read and replaced while ExecuTorch's XNNPACK delegate runs it.

The delegate's graph is changed: a tensor to read becomes an external output, a tensor to replace
an external input that all its readers take; the program around it hands both through.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.quiet import quiet
from export.targets.executorch.cut import (
    EXTERNAL_INPUT,
    EXTERNAL_OUTPUT,
    SCALARS,
    PteCutter,
    add_tensor,
    value_tensor,
)
from export.targets.executorch.reader import read_pte
from export.targets.executorch.running import described, runtime
from export.targets.executorch.xnnpack.pack import pack_delegate
from export.targets.executorch.xnnpack.reader import INVALID_ID
from mobilemod.errors import UserError


def open_taps(path: Path, unit: str | None = None) -> PteTaps:
    """The taps of a file; `UserError` where it is damaged, or not XNNPACK's alone."""
    return PteTaps(path)


class PteTaps:
    """An opened `.pte` whose one delegate is XNNPACK; tensors are named as in `graph`."""

    as_is = False

    def __init__(self, path: Path):
        self.path = path
        self.cutter = PteCutter(path, threads=1)
        self.graph = self.cutter.graph
        self.stored = read_pte(path).constants
        if len(self.cutter.delegates) != 1 or any(n.partition is None for n in self.graph.nodes):
            raise UserError(f"{path}: its ops are not all in one XNNPACK delegate; not ours")
        for at, delegate in self.cutter.delegates.items():
            self._restore_scales(at, delegate.graph)
        self.description = described()
        self.loaded: dict[tuple, tuple[Any, bytes]] = {}

    def _restore_scales(self, at: int, graph: dict[str, Any]) -> None:
        """Scales as stored: flatc's text of them has six decimals."""
        call = self.cutter.plan.chains[0].instructions[at].instr_args
        for value in graph["xvalues"]:
            if value["xvalue_union"].get("quant_params_type") == "PerTensorQuant":
                tensor = value_tensor(value)
                name, external = f"p0.v{tensor['id_out']}", tensor["external_id"]
                name = name if external == INVALID_ID else f"t{call.args[external]}"
                scale = self.graph.tensors[name].scale[0]
                value["xvalue_union"]["quant_params"]["scale"] = scale

    def run(
        self, x: np.ndarray, wanted: Collection[str], given: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """As `Taps.run`."""
        given = dict(given or {})
        image, plan = self.graph.inputs[0], self.cutter.plan
        x = given.pop(image, x)
        shown = [n for n in dict.fromkeys(wanted) if n != image]
        key = (tuple(shown), tuple(given))
        if key not in self.loaded:
            self.loaded[key] = self._load(shown, list(given))
        inputs = (x, *given.values())
        tensors = tuple(torch.from_numpy(np.ascontiguousarray(v)) for v in inputs)
        try:
            results = self.loaded[key][0].forward(tensors, clone_outputs=False)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"{self.path}: ExecuTorch can't run it ({reason})") from None
        own = {f"t{i}": k for k, i in enumerate(plan.outputs)}
        added = [n for n in shown if n not in own]
        order = own | {name: len(own) + k for k, name in enumerate(added)}
        found = {name: results[order[name]].numpy().copy() for name in shown}
        return found | ({image: x} if image in wanted else {})

    def _load(self, wanted: list[str], given: list[str]) -> tuple[Any, bytes]:
        """The changed program, loaded, and the bytes that it reads without owning them."""
        from executorch.exir import schema

        ((at, delegate),) = self.cutter.delegates.items()
        edges = _Edges(copy.deepcopy(delegate.graph))
        plan, program = copy.deepcopy(self.cutter.plan), copy.copy(self.cutter.file.program)
        call = plan.chains[0].instructions[at].instr_args
        output = f"t{plan.outputs[0]}"
        for names, is_input in ((given, True), (wanted, False)):
            for name in (n for n in names if n != output):
                value = edges.add(name, is_input)
                dtype = SCALARS[value["datatype"]]
                call.args.append(add_tensor(plan, value["dims"], dtype, is_input))
        program.execution_plan = [plan]
        place = plan.delegates[call.delegate_index].processed
        program.backend_delegate_data = list(program.backend_delegate_data)
        blob = schema.BackendDelegateInlineData(pack_delegate(edges.graph, delegate.constants))
        program.backend_delegate_data[place.index] = blob
        content = self.cutter.assembled(program, self.cutter.file.named_data)
        with quiet():
            return runtime(1)._load_for_executorch_from_buffer(content), content

    def constant(self, name: str) -> np.ndarray | None:
        """A stored tensor's values, int8 or int32 codes or float32; None for any other."""
        if name in self.stored:
            return self.stored[name]
        if not name.startswith("t") or name in (*self.graph.inputs, *self.graph.outputs):
            return None
        value = self.cutter.plan.values[int(name[1:])].val
        storage = self.cutter.file.program.constant_buffer[value.data_buffer_idx].storage
        dtype = np.dtype(self.graph.tensors[name].dtype)
        return np.frombuffer(storage, dtype, math.prod(value.sizes)).reshape(value.sizes)

    def settings(self, output: str) -> dict[str, float | str]:
        """What the op that makes `output` is set to beside its tensors: GELU's kind."""
        op = next((n.op for n in self.graph.nodes if output in n.outputs), "")
        return {"GELU": "exact" if op == "gelu" else "tanh approximation"} if "gelu" in op else {}


class _Edges:
    """An XNNPACK graph that gets more externals; changes it."""

    def __init__(self, graph: dict[str, Any]):
        self.graph = graph
        self.values = {value_tensor(v)["id_out"]: v for v in graph["xvalues"]}

    def add(self, name: str, is_input: bool) -> dict[str, Any]:
        """Tensor `name` ("p0.v7") as one more output, or its twin as input; the value's fields."""
        number = int(name.partition(".v")[2])
        value = self.values[number]
        if is_input:
            value = copy.deepcopy(value)
            twin = value_tensor(value)["id_out"] = max(self.values) + 1
            self.values[twin] = value
            self.graph["xvalues"].append(value)
            for node in self.graph["xnodes"]:
                fields = node["xnode_union"]
                for key, read in fields.items():
                    if key.endswith("_id") and "output" not in key and read == number:
                        fields[key] = twin
            self.graph["input_ids"].append(twin)
        else:
            self.graph["output_ids"].append(number)
        tensor = value_tensor(value)
        assert is_input or tensor["external_id"] == INVALID_ID
        tensor["external_id"] = self.graph["num_externs"]
        tensor["flags"] = EXTERNAL_INPUT if is_input else EXTERNAL_OUTPUT
        self.graph["num_externs"] += 1
        return tensor
