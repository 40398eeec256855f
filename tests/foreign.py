"""Small networks of other families as Hugging Face keeps them, with drawn weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.quiet import quiet
from mobilemod.networks.synthetic import trained_like

SIZE = 64
# name -> (configuration, processor, its size); the second one's stretches images to a rectangle.
NETWORKS = {
    "ConvNextV2": (dict(hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 1, 1]),
                   "ConvNext", {"shortest_edge": SIZE}),
    "ViT": (dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96,
                 image_size=(SIZE, 96)),
            "ViT", {"height": SIZE, "width": 96}),
}  # fmt: skip
CLASSES = 6
SEGFORMER = (dict(hidden_sizes=[16, 16, 32, 32], depths=[1, 1, 1, 1], decoder_hidden_size=32,
                  num_attention_heads=[2, 2, 4, 4], num_labels=CLASSES),
             "Segformer", {"height": SIZE, "width": 96})  # fmt: skip


def save(
    folder: Path, kind: str, shape: dict[str, Any], processor: str, size: dict[str, int]
) -> Path:
    """A network of a trained one's spread in `folder`, which is returned.

    kind: its class in transformers; shape: of its configuration; processor: of images, for `size`.
    """
    with quiet():
        import transformers

        made = getattr(transformers, kind)
        network = made(made.config_class(**shape))
        state = network.state_dict()
        drawn = trained_like({k: v.shape for k, v in state.items() if v.is_floating_point()})
        network.load_state_dict({**state, **drawn})
        network.save_pretrained(folder)
        getattr(transformers, f"{processor}ImageProcessorPil")(size=size).save_pretrained(folder)
    return folder
