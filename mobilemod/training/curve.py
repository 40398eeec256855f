"""The loss and accuracy of a run as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mobilemod.files import atomic_path


def draw_curve(history: list[dict[str, Any]], path: Path) -> None:
    """Training loss and validation top-1 over the epochs, image sizes marked, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    epochs = [h["epoch"] for h in history]
    figure, loss = plt.subplots(figsize=(7, 4), dpi=120)
    loss.plot(epochs, [h["loss"] for h in history], color="tab:red", label="training loss")
    loss.set_xlabel("epoch")
    loss.set_ylabel("training loss", color="tab:red")
    accuracy = loss.twinx()
    accuracy.plot(epochs, [h["val_top1"] for h in history], color="tab:blue")
    at_224 = [h for h in history if h["val_size"] == 224]
    accuracy.scatter(
        [h["epoch"] for h in at_224], [h["val_top1"] for h in at_224], color="tab:blue"
    )
    accuracy.set_ylabel("validation top-1, % (dots: at 224 pixels)", color="tab:blue")
    for before, after in zip(history, history[1:], strict=False):
        if before["size"] != after["size"]:
            loss.axvline(before["epoch"] + 0.5, color="grey", linestyle=":", linewidth=1)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
    plt.close(figure)
