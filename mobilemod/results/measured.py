"""What a record was measured on, as text: folder, split, count, and what speaks against it."""

from __future__ import annotations

from typing import Any


def measured_text(data: dict[str, Any] | None, images: int) -> str | None:
    """One line; None where the record doesn't say it. data: `ImageFolder.about`'s form."""
    if not data or not data.get("folder"):
        return None
    seen = data.get("calibrated_on")
    known = "not known how many of them" if seen is None else f"{seen} of them"
    where = f"{data['folder']}, split {data['split']}"
    return f"measured on {where}, {images:,} images; {known} calibrated on"


def warning(data: dict[str, Any] | None) -> str | None:
    """Why the figures may be too kind; None where nothing says so."""
    if not data or not data.get("folder"):
        return None
    if seen := data.get("calibrated_on"):
        return f"warning: {seen} measured images were calibrated on; a drop may look too small"
    if str(data.get("split", "")).lower() in ("train", "training"):
        return "warning: these are training images; accuracy on them is higher than on others"
    return None


def measured_lines(data: dict[str, Any] | None, images: int) -> list[str]:
    """Both, as far as there are any."""
    return [line for line in (measured_text(data, images), warning(data)) if line]
