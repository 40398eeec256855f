"""`mobilemod.card`."""

from __future__ import annotations

import os
from pathlib import Path


def card(bundle: str | os.PathLike[str], out: str | os.PathLike[str]) -> Path:
    """A bundle as a folder for a hub of models: README.md with the metadata of Hugging Face's
    cards, manifest, model files and report; the card's path.

    Raises `UserError` for a bundle that isn't whole and where `out` is there already.
    """
    from mobilemod.manifest import load_bundle
    from mobilemod.results.markdown.card import write_card

    return write_card(load_bundle(Path(bundle)), Path(out))
