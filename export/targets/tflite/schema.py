"""TFLite's file format, as far as reading a file needs it: tables and fields in the format's order.

Options of operators that tell nothing about tensors or work are left out: read as empty.
"""

from __future__ import annotations

import functools

from ai_edge_litert import schema_py_generated as generated

from export.targets.flatbuffer import Schema

TABLES = """
table Model { version: uint; operator_codes: [OperatorCode]; subgraphs: [SubGraph];
  description: string; buffers: [Buffer]; metadata_buffer: [int]; metadata: [Metadata];
  signature_defs: [SignatureDef]; }
table OperatorCode { deprecated_builtin_code: byte; custom_code: string; version: int;
  builtin_code: int; }
table SubGraph { tensors: [Tensor]; inputs: [int]; outputs: [int]; operators: [Operator];
  name: string; }
table Tensor { shape: [int]; type: byte; buffer: uint; name: string;
  quantization: Quantization; is_variable: bool; sparsity: Sparsity; shape_signature: [int];
  has_rank: bool; variant_tensors: [Empty]; external_buffer: uint; }
table Quantization { min: [float]; max: [float]; scale: [float]; zero_point: [long];
  details: QuantizationDetails; quantized_dimension: int; }
table BlockwiseQuantization { scales: int; zero_points: int; block_size: int; }
table Sparsity { traversal_order: [int]; }
table Operator { opcode_index: uint; inputs: [int]; outputs: [int];
  builtin_options: BuiltinOptions; custom_options: [ubyte]; custom_options_format: byte;
  mutating_variable_inputs: [bool]; intermediates: [int]; large_custom_options_offset: ulong;
  large_custom_options_size: ulong; builtin_options_2: BuiltinOptions2; }
table Buffer { data: [ubyte]; offset: ulong; size: ulong; }
table Metadata { name: string; buffer: uint; }
table SignatureDef { inputs: [Empty]; outputs: [Empty]; signature_key: string; unused: string;
  subgraph_index: uint; }
table Empty { }
table BatchMatMulOptions { adj_x: bool; adj_y: bool; }
table IfOptions { first: int; second: int; }
table WhileOptions { first: int; second: int; }
table StablehloWhileOptions { first: int; second: int; }
table CallOptions { first: uint; }
table CallOnceOptions { first: int; }
table StableHLOCompositeOptions { name: string; first: int; }
table StablehloCaseOptions { branches: [int]; }
"""
# Options that name subgraphs, by these fields.
CALLED = ("first", "second", "branches")


@functools.cache
def tflite_schema() -> Schema:
    """The schema; unions have the members of the runtime's package."""
    return Schema(
        TABLES,
        *(
            f"union {name} {{ {', '.join(_members(name))} }}"
            for name in ("BuiltinOptions", "BuiltinOptions2", "QuantizationDetails")
        ),
    )


def _members(union: str) -> list[str]:
    """A union's members in the format's order, without NONE."""
    values = {v: k for k, v in vars(getattr(generated, union)).items() if not k.startswith("_")}
    return [values[i] for i in sorted(values) if i]
