"""Exact rewrites of the channels-first graph, one a file, in the order of `PASSES`; those of scales
and shifts, of sums and of pyramids in rooms of their own.

A pass is a function of a graph that changes it in place and returns how often it did. What it
computes stays the same for every image but for the order of float operations.
"""

from __future__ import annotations

from collections.abc import Callable

from mobilemod.forms.graph import Graph
from mobilemod.forms.rewrites.convolution_chain import merge_chains
from mobilemod.forms.rewrites.pyramid.pair import convolve_maps_twice
from mobilemod.forms.rewrites.pyramid.single import convolve_maps
from mobilemod.forms.rewrites.scales.affine_after import fold_into_producer
from mobilemod.forms.rewrites.scales.affine_before import fold_into_readers
from mobilemod.forms.rewrites.scales.affine_merge import merge_affines
from mobilemod.forms.rewrites.scales.affine_move import move_behind_pooling
from mobilemod.forms.rewrites.scales.factor_move import scale_smaller_factor
from mobilemod.forms.rewrites.scales.scalar_move import move_scalars_back
from mobilemod.forms.rewrites.scales.shift_move import move_behind_sum
from mobilemod.forms.rewrites.select_rows import select_rows
from mobilemod.forms.rewrites.space_to_depth import space_to_depth
from mobilemod.forms.rewrites.strided_slice import slices_as_convolutions
from mobilemod.forms.rewrites.sums.convolution_sum import add_convolutions
from mobilemod.forms.rewrites.sums.gated_sum import join_gated_sums
from mobilemod.forms.rewrites.sums.upsampled_sum import add_before_resize
from mobilemod.forms.rewrites.upsampled import convolve_before_upsampling

PASSES: dict[str, Callable[[Graph], int]] = {
    "strided slices joined to channels as one move": space_to_depth,
    "strided slices as convolutions": slices_as_convolutions,
    "sums of convolutions of one image as one": add_convolutions,
    "images resized alike added before": add_before_resize,
    "selected channels as convolutions of their own": select_rows,
    "scalar factors moved to a convolution": move_scalars_back,
    "scales and shifts merged": merge_affines,
    "scales and shifts folded into the convolution before": fold_into_producer,
    "convolutions moved before upsampling": convolve_before_upsampling,
    "convolutions after one another as one": merge_chains,
    "two convolutions of a pyramid's level on its maps": convolve_maps_twice,
    "convolutions of a pyramid's level on its maps": convolve_maps,
    "scales and shifts moved behind pooling": move_behind_pooling,
    "factors moved to a product's smaller factor": scale_smaller_factor,
    "shifts moved behind sums": move_behind_sum,
    "sums of a tensor and its product joined": join_gated_sums,
    "scales and shifts folded into the convolutions after": fold_into_readers,
}
MOST_ROUNDS = 20


def rewrite(graph: Graph) -> dict[str, int]:
    """Run all passes until none finds anything; how often each did something."""
    counts = dict.fromkeys(PASSES, 0)
    for _ in range(MOST_ROUNDS):
        found = 0
        for name, apply in PASSES.items():
            done = apply(graph)
            graph.prune()
            counts[name] += done
            found += done
        if not found:
            break
    return counts
