"""The tensors of an `.aimodel`, read and replaced while Apple's runtime runs it.

The runtime puts no other value in a tensor's place, so the file's program is changed in memory: a
tensor to read becomes an output, a tensor to replace a second input that all its readers take.
"""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from export.quiet import quiet
from export.targets.coreai.graph import quantization, read_values
from export.targets.coreai.reader import (
    DEQUANTIZE,
    GELU,
    OUTPUT,
    body,
    functions,
    open_asset,
)
from export.targets.coreai.running import Function, described, start
from export.targets.coreai.toolkit import package
from mobilemod.targets.coreai import FACTS

NAME = "coreai.name"
KIND = re.compile(r"<(\w+)>")


def open_taps(path: Path, unit: str | None = None) -> CoreaiTaps:
    """The taps of a file; `UserError` where it is damaged."""
    return CoreaiTaps(path)


class CoreaiTaps:
    """An opened `.aimodel`; tensors are named as in `graph`, float16 ones are held in float32."""

    as_is = False

    def __init__(self, path: Path):
        self.path = path
        self.asset = open_asset(path)
        self.graph, self.values = read_values(self.asset)
        # Clones of the program have the same ops in the same places.
        self.place = {
            value: (i, k)
            for i, op in enumerate(body(self.asset.graph))
            for k, value in enumerate(op.results)
        }
        self.description = described()
        self.loaded: dict[tuple, Function] = {}

    def run(
        self, x: np.ndarray, wanted: Collection[str], given: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """As `Taps.run`."""
        given = dict(given or {})
        (image,) = self.graph.inputs
        x = given.pop(image, x)
        shown = [name for name in dict.fromkeys(wanted) if name != image]
        key = (tuple(shown), tuple(given))
        if key not in self.loaded:
            self.loaded[key] = self._load(shown, list(given))
        names = [image, *(f"given{i}" for i in range(len(given)))]
        held = ({image: x} | given).items()
        with np.errstate(over="ignore"):  # beyond float16 is infinite there too
            inputs = {
                name: np.ascontiguousarray(values, self.graph.tensors[tensor].dtype)
                for name, (tensor, values) in zip(names, held, strict=True)
            }
        found = self.loaded[key](inputs)
        results = {name: found[f"read{i}"] for i, name in enumerate(shown)}
        half = {n: v.astype(np.float32) for n, v in results.items() if v.dtype == np.float16}
        return results | half | ({image: x} if image in wanted else {})

    def _load(self, wanted: list[str], given: list[str]) -> Function:
        """The changed program, compiled."""
        program = copy.deepcopy(self.asset.program)
        (graph,), _ = functions(program)
        with tempfile.TemporaryDirectory() as folder, quiet():
            self._change(graph, wanted, given)
            path = Path(folder) / f"tapped{FACTS.suffix}"
            program.save_asset(path)
            return start(path, self.path)

    def _change(self, graph: Any, wanted: list[str], given: list[str]) -> None:
        """Give the function an output for each of `wanted`, an input for each of `given`."""
        ir = package("coreai._compiler.ir")
        ops = body(graph)
        reads, gives = ([self._value(ops, name) for name in names] for names in (wanted, given))
        end = next(op for op in ops if op.name == OUTPUT)
        block, outputs = graph.regions[0].blocks[0], [*end.operands, *reads]
        with graph.context, graph.location as place:
            for value in gives:
                value.replace_all_uses_with(block.add_argument(value.type, place))
            ir.Operation.create(OUTPUT, operands=outputs, ip=ir.InsertionPoint(end))
            end.erase()
            types = [[v.type for v in values] for values in (block.arguments, outputs)]
            graph.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(*types))
            for key, prefix, count in (
                ("arg_attrs", "given", len(gives)), ("res_attrs", "read", len(reads))
            ):  # fmt: skip
                added = [
                    ir.DictAttr.get({NAME: ir.StringAttr.get(f"{prefix}{i}")}) for i in range(count)
                ]
                graph.attributes[key] = ir.ArrayAttr.get([*graph.attributes[key], *added])

    def _value(self, ops: tuple[Any, ...], name: str) -> Any:
        at, result = self.place[self.values[name]]
        return ops[at].results[result]

    def constant(self, name: str) -> np.ndarray | None:
        """A stored tensor's codes or values; None for any other."""
        value = self.values.get(name)
        op = getattr(value, "owner", None)
        if getattr(op, "name", "") == DEQUANTIZE:
            value = op.operands[0]
        return self.asset.constant(value)

    def settings(self, output: str) -> dict[str, float | str]:
        """What the op that makes `output` is set to beside its tensors: GELU's kind, a norm's eps,
        the scale that codes are read by."""
        op = getattr(self.values.get(output), "owner", None)
        kind = getattr(op, "name", "")
        if kind == GELU:
            how = KIND.search(str(op.attributes["approximate"])).group(1)
            return {"GELU": "exact" if how == "none" else f"{how} approximation"}
        if kind == DEQUANTIZE and self.asset.constant(op.operands[1]) is not None:
            fields = quantization(self.asset, op)
            return {"scale": fields["scale"][0], "zero point": fields["zero_point"][0]}
        if kind.endswith("add"):
            for value in map(self.asset.constant, op.operands):
                if value is not None and value.size == 1:
                    return {"eps": float(value.item())}
        return {}
