"""Sub-programs of a `.pte`: single ops, in or outside the XNNPACK delegate, for timing them alone.

The program comes apart and is put together again by ExecuTorch's own serializer; an XNNPACK graph
by the `flatc` that comes with it.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import struct
from pathlib import Path
from typing import Any

import torch

from export.auditing.text import opaque_text
from export.graph import DYNAMIC, FileGraph
from export.quiet import quiet
from export.targets.base import SubProgram
from export.targets.executorch.reader import XNNPACK, PteFile, read_pte
from export.targets.executorch.running import runtime
from export.targets.executorch.weight_names import weight_names
from export.targets.executorch.xnnpack.pack import graph_from_bytes, pack_delegate
from export.targets.executorch.xnnpack.reader import INVALID_ID
from mobilemod.errors import UserError

EXTERNAL_INPUT, EXTERNAL_OUTPUT = 1, 2  # XNN_VALUE_FLAG_EXTERNAL_… in xnnpack.h
ALIGNMENT = 64
METHOD = "forward"
SCALARS = {
    "xnn_datatype_fp32": torch.float32,
    "xnn_datatype_fp16": torch.float16,
    "xnn_datatype_qint8": torch.int8,
    "xnn_datatype_quint8": torch.uint8,
    "xnn_datatype_int32": torch.int32,
}


def _refuse(path: Path, found: PteFile) -> None:
    """`UserError` for what doesn't come apart into ops that run alone."""
    why = None
    if found.graph.opaque:
        why = f"{opaque_text(found.graph.opaque)} can't be looked into"
    elif found.methods != (METHOD,):
        why = f"only '{METHOD}' can be run alone, it has {', '.join(map(repr, found.methods))}"
    elif found.varying:
        why = "its input shapes vary; export it with fixed ones"
    elif found.branches:
        why = "it has branches"
    elif found.elsewhere:
        why = "its weights lie in a .ptd"
    elif any(t.dtype == DYNAMIC for t in found.graph.tensors.values()):
        why = "it quantizes while it runs, so its ops can't be given values alone"
    if why:
        raise UserError(f"{path}: not supported: no profile, since {why}")


def open_cutter(path: Path, threads: int = 1) -> PteCutter:
    """The cutter of a file; `UserError` for one that doesn't come apart."""
    return PteCutter(path, threads)


class PteCutter:
    """Cuts a file; nodes are numbered as in `graph.nodes`."""

    def __init__(self, path: Path, threads: int):
        found = read_pte(path)
        self.graph: FileGraph = found.graph
        _refuse(path, found)
        self.weights = weight_names(path, found.constants)
        self.content = path.read_bytes()
        self.threads = threads
        with quiet():
            from executorch.exir._serialize._program import deserialize_pte_binary

            self.file = deserialize_pte_binary(self.content)
        self.plan = next(p for p in self.file.program.execution_plan if p.name == METHOD)
        self.delegates: dict[int, _DelegateGraph] = {}
        self.places = self._places()

    def _places(self) -> list[tuple[int, int | None]]:
        """Node -> (instruction, node within its XNNPACK graph or None)."""
        places: list[tuple[int, int | None]] = []
        for i, instruction in enumerate(self.plan.chains[0].instructions):
            call = instruction.instr_args
            kind = type(call).__name__
            delegate = self.plan.delegates[call.delegate_index] if kind == "DelegateCall" else None
            if delegate is not None and delegate.id == XNNPACK:
                blob = self.file.program.backend_delegate_data[delegate.processed.index].data
                self.delegates[i] = _DelegateGraph(bytes(blob))
                places += [(i, k) for k in range(len(self.delegates[i].nodes))]
            elif kind in ("DelegateCall", "KernelCall"):
                places.append((i, None))
        return places

    def signature(self, nodes: tuple[int, ...]) -> str:
        """Equal for sub-programs that cost the same: ops, options, shapes and formats."""
        parts = []
        for node in nodes:
            instruction, inner = self.places[node]
            if inner is None:
                parts.append(f"instruction {instruction}")
            else:
                parts.append(self.delegates[instruction].signature(inner))
        return str(parts)

    def program(self, nodes: tuple[int, ...]) -> SubProgram:
        """The nodes as a loaded program.

        Nodes of one XNNPACK graph get random inputs; an op outside the delegates computes on what
        its planned memory happens to hold.
        """
        instruction, inner = self.places[nodes[0]]
        plan = copy.copy(self.plan)
        program = copy.copy(self.file.program)
        program.execution_plan = [plan]
        named = self.file.named_data
        inputs: tuple[torch.Tensor, ...] = ()
        if inner is None:
            plan.inputs, plan.outputs = [], []
            plan.chains = [_chain(plan, [plan.chains[0].instructions[instruction]])]
        else:
            graph = self.delegates[instruction]
            blob, externals, keys = graph.cut([self.places[n][1] for n in nodes])
            inputs = self._delegate_plan(program, plan, instruction, blob, externals)
            named = _only(named, keys)
        return self._load(self.assembled(program, named), inputs)

    def assembled(self, program: Any, named: Any) -> bytes:
        """A file's bytes: another program, and constants by name as `file.named_data` has them."""
        with quiet():
            from executorch.exir._serialize._program import PTEFile, serialize_pte_binary

            file = PTEFile(program, self.file.mutable_data, named)
            return bytes(serialize_pte_binary(file, extract_delegate_segments=True))

    def _delegate_plan(
        self, program: Any, plan: Any, instruction: int, blob: bytes, externals: list[_External]
    ) -> tuple[torch.Tensor, ...]:
        """Make `plan` one call of the XNNPACK graph `blob`; random inputs for it."""
        from executorch.exir import schema

        call = plan.chains[0].instructions[instruction].instr_args
        plan.values, plan.operators, plan.inputs, plan.outputs = [], [], [], []
        plan.non_const_buffer_sizes = [0, 0]
        everything = [add_tensor(plan, e.shape, e.dtype, e.is_input) for e in externals]
        plan.chains = [_chain(plan, [schema.Instruction(schema.DelegateCall(0, everything))])]
        delegate = copy.copy(plan.delegates[call.delegate_index])
        delegate.processed = schema.BackendDelegateDataReference(schema.DataLocation.INLINE, 0)
        plan.delegates = [delegate]
        program.backend_delegate_data = [schema.BackendDelegateInlineData(blob)]
        torch.manual_seed(0)
        return tuple(
            torch.randn(e.shape).to(e.dtype)
            if e.dtype.is_floating_point
            else torch.randint(0 if e.dtype == torch.uint8 else -100, 100, e.shape, dtype=e.dtype)
            for e in externals
            if e.is_input
        )

    def whole_program(self) -> SubProgram:
        """The whole file, loaded in the same way."""
        torch.manual_seed(0)
        given = [self.graph.tensors[name] for name in self.graph.inputs]
        return self._load(self.content, tuple(_random(t.shape, t.dtype) for t in given))

    def _load(self, content: bytes, inputs: tuple[torch.Tensor, ...]) -> SubProgram:
        with quiet():
            loaded = runtime(self.threads)._load_for_executorch_from_buffer(content)

        def forward() -> list[Any]:
            # The runtime reads `content` without owning it: the closure keeps it.
            assert content
            return loaded.forward(inputs, clone_outputs=False)

        return SubProgram(
            forward,
            tuple(t.numpy() for t in inputs),
            lambda: tuple(t.numpy().copy() for t in forward()),
        )


def _random(shape: tuple[int, ...], dtype: str) -> torch.Tensor:
    kind = getattr(torch, dtype)
    # Whole numbers may be places in a table: 0 is in every one.
    return torch.randn(shape).to(kind) if kind.is_floating_point else torch.zeros(shape, dtype=kind)


@dataclasses.dataclass(frozen=True)
class _External:
    shape: list[int]
    dtype: torch.dtype
    is_input: bool


class _DelegateGraph:
    """One XNNPACK graph as JSON values, with the constants that lie in the delegate itself."""

    def __init__(self, blob: bytes):
        start, size, constants, length = struct.unpack_from("<IIIQ", blob, 10)
        self.constants = blob[constants : constants + length]
        self.graph = graph_from_bytes(blob[start : start + size])
        self.nodes: list[dict[str, Any]] = self.graph["xnodes"]
        self.values = {value_tensor(v)["id_out"]: v for v in self.graph["xvalues"]}

    def signature(self, node: int) -> str:
        entry = self.nodes[node]
        fields = entry["xnode_union"]
        parts: list[object] = [entry["xnode_union_type"]]
        for key, value in sorted(fields.items()):
            if not key.endswith("_id"):
                parts.append((key, value))
            elif value != INVALID_ID:
                t = value_tensor(self.values[value])
                parts.append((key, t["datatype"], t["dims"], t["constant_buffer_idx"] > 0))
        return str(parts)

    def cut(self, kept: list[int]) -> tuple[bytes, list[_External], set[str]]:
        """The graph of these nodes as a delegate's bytes, its externals, inputs first, and the
        keys of the constants that it reads from the program."""
        nodes = [copy.deepcopy(self.nodes[i]) for i in kept]
        made = {o for n in nodes for o in _ids(n, "output")}
        read = {i for n in nodes for i in _ids(n, "input")}
        elsewhere = set(self.graph["output_ids"])
        for k, node in enumerate(self.nodes):
            if k not in kept:
                elsewhere |= set(_ids(node, "input"))
        values = {i: copy.deepcopy(self.values[i]) for i in sorted(made | read)}
        tensors = {i: value_tensor(v) for i, v in values.items()}
        inputs = [i for i in values if i not in made and not tensors[i]["constant_buffer_idx"]]
        outputs = [i for i in values if i in made and (i in elsewhere or i not in read)]
        for i, tensor in tensors.items():
            tensor["external_id"], tensor["flags"] = INVALID_ID, 0
            for flag, side in ((EXTERNAL_INPUT, inputs), (EXTERNAL_OUTPUT, outputs)):
                if i in side:
                    tensor["external_id"], tensor["flags"] = [*inputs, *outputs].index(i), flag
        graph = self.graph | {
            "xnodes": nodes,
            "xvalues": list(values.values()),
            "num_externs": len(inputs) + len(outputs),
            "input_ids": inputs,
            "output_ids": outputs,
        }
        externals = [
            _External(tensors[i]["dims"], SCALARS[tensors[i]["datatype"]], i in inputs)
            for i in (*inputs, *outputs)
        ]
        used = {t["constant_buffer_idx"] for t in tensors.values()} - {0}
        used |= {
            value["xvalue_union"]["quant_params"]["scale_buffer_idx"]
            for value in values.values()
            if value["xvalue_union"].get("quant_params_type") == "PerChannelQuant"
        }
        keys = {self.graph["constant_data"][i].get("named_key", "") for i in used}
        return pack_delegate(graph, self.constants), externals, keys - {""}


def value_tensor(value: dict[str, Any]) -> dict[str, Any]:
    """The fields of an XNNPACK graph's value that quantized and float ones share."""
    union = value["xvalue_union"]
    return union.get("tensor_value", union)


def _ids(node: dict[str, Any], side: str) -> list[int]:
    """The values that a node reads ("input": data, filter, bias) or makes ("output")."""
    return [
        v
        for k, v in node["xnode_union"].items()
        if k.endswith("_id") and v != INVALID_ID and ("output" in k) == (side == "output")
    ]


def add_tensor(plan: Any, shape: list[int], dtype: torch.dtype, is_input: bool) -> int:
    """Give `plan` one more input or output; its number among the plan's values."""
    from executorch.exir import schema
    from executorch.exir.tensor import scalar_type_enum

    # Inputs stay where the caller has them; outputs lie in planned memory.
    offset = plan.non_const_buffer_sizes[1]
    place = None if is_input else schema.AllocationDetails(1, offset, 0)
    tensor = schema.Tensor(
        scalar_type_enum(dtype), 0, list(shape), list(range(len(shape))), False, 0, 0,
        place, schema.TensorShapeDynamism.STATIC,
    )  # fmt: skip
    plan.values.append(schema.EValue(tensor))
    number = len(plan.values) - 1
    (plan.inputs if is_input else plan.outputs).append(number)
    if not is_input:
        size = math.prod(shape) * dtype.itemsize
        plan.non_const_buffer_sizes[1] += -(-size // ALIGNMENT) * ALIGNMENT
    return number


def _chain(plan: Any, instructions: list[Any]) -> Any:
    return dataclasses.replace(
        plan.chains[0], inputs=[], outputs=[], instructions=instructions, stacktrace=None
    )


def _only(named: Any, keys: set[str]) -> Any:
    """The named constants under `keys` alone."""
    found = {k: v for k, v in named.pte_data.items() if k in keys}
    order = sorted({entry.buffer_index for entry in found.values()})
    place = {old: new for new, old in enumerate(order)}
    return dataclasses.replace(
        named,
        buffers=[named.buffers[i] for i in order],
        pte_data={
            k: dataclasses.replace(v, buffer_index=place[v.buffer_index]) for k, v in found.items()
        },
    )
