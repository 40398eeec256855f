"""Exact rewrites of feature pyramids: convolutions of a sum of a 1x1 convolution and of a coarser
map whose pixels are repeated, computed where each map is small."""
