"""Names for a float `.pte`'s weights, which have no quantization parameters to know them by."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

import numpy as np

from export.bundle_parts import REFERENCE_FILE, OpenedBundle
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.manifest import bundle_around
from mobilemod.targets.executorch import FACTS


def weight_names(path: Path, constants: dict[str, np.ndarray]) -> dict[str, str]:
    """Constant of the `.pte` at `path` -> published weight, from the float network beside it.

    Weights are known by their values, in whatever layout the file holds them; equal ones (the
    means of norms) by the order in which the network runs. Empty outside a bundle.
    """
    bundle = bundle_around(path)
    if bundle is None or REFERENCE_FILE not in bundle.hashes:
        return {}
    form = OpenedBundle(bundle).mobile(FACTS.form, False)
    convs = [m for m in form.modules() if isinstance(m, NamedConv2d)]
    names: dict[str, list[str]] = defaultdict(list)
    for conv in convs:
        names[_key(conv.weight.detach().numpy())].append(conv.tensor)
    found = {}
    for name, value in constants.items():
        waiting = names.get(_key(value), []) if value.size > 1 else []
        if waiting:
            found[name] = waiting.pop(0)
    return found


def _key(values: np.ndarray) -> str:
    return hashlib.sha256(np.sort(values, axis=None).tobytes()).hexdigest()
