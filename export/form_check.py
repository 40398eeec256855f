"""Forms of an export, held against the network that they are of."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from export.targets.base import FORMS
from export.targets.comparison import NOISE
from mobilemod.errors import UserError
from mobilemod.forms.canonical import Canonical
from mobilemod.forms.form import Form
from mobilemod.targets import TARGETS
from quantization.calibration import refuse_overflow

# Of the largest output; and how often what noise of NOISE in the image changes.
MAX_FORM_ERROR, MAX_SPREAD = 1e-4, 10


def checked_forms(
    module: nn.Module, canonical: Canonical, targets: tuple[str, ...]
) -> dict[str, Form]:
    """The forms that the targets need, each checked equal to the network."""
    names = sorted({TARGETS[t].form for t in targets})
    forms = {name: canonical.form(FORMS[name]) for name in names}
    shape = (1, *canonical.image_shape)
    rng = np.random.default_rng(0)
    x, noise = (torch.from_numpy(rng.standard_normal(shape, np.float32)) for _ in range(2))
    with torch.no_grad():
        expected = module(x)
        largest = expected.abs().max()
        # What a network makes of the last digits of its image, it makes of those of its weights.
        spread = (module(x * (1 + NOISE * noise)) - expected).abs().max()
        limit = MAX_FORM_ERROR * largest + MAX_SPREAD * spread
        for name, form in forms.items():
            error = (form(x) - expected).abs().max()
            if not error <= limit:
                refuse_overflow(form, x)
                raise UserError(
                    f"the {name} form differs from the network by {error:.1e} on these weights "
                    f"(limit {limit:.1e}, its largest output {largest:.1e}); check the checkpoint "
                    "for extreme values"
                )
    return forms
