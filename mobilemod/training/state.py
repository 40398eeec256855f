"""The state of a run on disk, and whether it belongs to the recipe that wants to go on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mobilemod.errors import UserError
from mobilemod.files import atomic_path, write_text

STATE_FILE = "training_state.pt"
HISTORY_FILE = "history.json"


def save_state(
    folder: Path, config: dict[str, Any], history: list[dict[str, Any]], state: dict[str, Any]
) -> None:
    """Write what `load_state` reads, and the history for people, each in one rename.

    config: JSON-ready. state: tensors, state dicts and numbers, under other keys than "config" and
    "history".
    """
    texts = {"config": json.dumps(config), "history": json.dumps(history)}
    with atomic_path(folder / STATE_FILE) as path:
        torch.save({**state, **texts}, path)
    write_text(folder / HISTORY_FILE, json.dumps(history, indent=1))


def load_state(folder: Path, device: str) -> dict[str, Any] | None:
    """What `save_state` wrote, None where it never did; `UserError` for a damaged file."""
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        return {
            **state,
            "config": json.loads(state["config"]),
            "history": json.loads(state["history"]),
        }
    except Exception as error:  # a cut file can fail anywhere in the unpickler
        raise UserError(
            f"{path} is damaged ({type(error).__name__}); delete the folder to start again"
        ) from error


def require_same(saved: Mapping[str, Any], config: dict[str, Any], folder: Path) -> None:
    """`UserError` that names the keys in which the saved run's recipe differs from `config`."""
    wanted = json.loads(json.dumps(config))
    changed = sorted(k for k in wanted.keys() | saved.keys() if wanted.get(k) != saved.get(k))
    if changed:
        raise UserError(
            f"{folder / STATE_FILE} is of another recipe ({', '.join(changed)} differ); "
            "give another --out, or delete the folder to start again"
        )
