"""Op lists that NPUs' vendors publish in LiteRT's sources: by name alone, nothing is compiled.

Source: github.com/google-ai-edge/LiteRT, litert/vendors/{mediatek,google_tensor}/compiler/
compiler_plugin.cc, at the commits below. Ops are named as `export.graph` names them.
"""

from __future__ import annotations

from dataclasses import dataclass

from export.graph import FileGraph


@dataclass(frozen=True)
class OpList:
    """One vendor's list. ops: those that are taken, or with `refusing` those that aren't."""

    vendor: str
    commit: str
    ops: frozenset[str]
    refusing: bool = False

    def refused(self, graph: FileGraph) -> dict[int, str]:
        """Number of an op that isn't taken, in the graph's order -> why."""
        why = "on the list of what isn't taken" if self.refusing else "not on the list"
        return {i: why for i, n in enumerate(graph.nodes) if (n.op in self.ops) == self.refusing}


MEDIATEK = """
add mul matmul linear reshape transpose rsqrt concat quantize slice strided_slice split sub tanh
softmax mean gelu pad logistic sum conv depthwise_conv squared_difference resize_bilinear
resize_nearest_neighbor conv_transpose max_pool_2d dequantize padv2 hard_swish average_pool_2d
reduce_max sqrt div cast prelu leaky_relu maximum relu abs greater minimum stablehlo_composite
"""
NOT_GOOGLE_TENSOR = """
assign_variable bidirectional_sequence_lstm broadcast_args bucketize call_once complex_abs conv_3d
conv_3d_transpose densify fake_quant hashtable hashtable_find hashtable_import hashtable_size imag
local_response_normalization matrix_diag matrix_set_diag multinomial non_max_suppression_v4
non_max_suppression_v5 random_standard_normal random_uniform rank read_variable real reduce_prod
reverse_sequence rfft2d segment_sum shape sparse_to_dense svdf unidirectional_sequence_rnn unique
unsorted_segment_max unsorted_segment_min unsorted_segment_prod unsorted_segment_sum var_handle
where custom stablehlo_composite stablehlo_scatter reduce_window
"""
LISTS = {
    "mediatek": OpList(
        "MediaTek", "8714dad87b45feb12960a39a4afe654b4f2fa44c", frozenset(MEDIATEK.split())
    ),
    "google-tensor": OpList(
        "Google Tensor",
        "91f2115004959547b2e4d1103982ca5fc6a97a5e",
        frozenset(NOT_GOOGLE_TENSOR.split()),
        refusing=True,
    ),
}
