"""Mobile deployment of vision networks: from PyTorch to int8 files, measured.

The Python API is here: `export`, `validate`, `inspect`, `load`, and what they give; docs/python.md
shows it. This file alone looks up to the package that does the work, and only when one of its names
is asked for: importing it imports no framework.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from export.api.carding import card as card
    from export.api.comparing import compare as compare
    from export.api.exporting import export as export
    from export.api.inspecting import inspect as inspect
    from export.api.validating import validate as validate
    from export.auditing.audit import Inspection as Inspection
    from export.predicting.model import Model as Model
    from export.predicting.model import load as load
    from mobilemod.errors import UserError as UserError
    from mobilemod.results.outcomes.exported import Exported as Exported
    from mobilemod.results.outcomes.predicted import Prediction as Prediction
    from mobilemod.results.outcomes.validated import Validation as Validation

__version__ = "0.1.0"

# Name -> the module that has it.
_API = {
    "card": "export.api.carding",
    "compare": "export.api.comparing",
    "export": "export.api.exporting",
    "inspect": "export.api.inspecting",
    "load": "export.predicting.model",
    "validate": "export.api.validating",
    "Exported": "mobilemod.results.outcomes.exported",
    "Inspection": "export.auditing.audit",
    "Model": "export.predicting.model",
    "Prediction": "mobilemod.results.outcomes.predicted",
    "UserError": "mobilemod.errors",
    "Validation": "mobilemod.results.outcomes.validated",
}
__all__ = [
    "Exported", "Inspection", "Model", "Prediction", "UserError", "Validation", "__version__",
    "card", "compare", "create_model", "export", "inspect", "load", "validate",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_API[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_API})


def create_model(
    name: str, num_classes: int = 1000, checkpoint: str | Path | None = None, size: int = 224
) -> nn.Module:
    """The network `name`, for images of `size` pixels, with the weights of `checkpoint` if given.

    See `mobilemod.networks.checkpoints.create_model`. torch is imported here and not before.
    """
    from mobilemod.networks import checkpoints

    return checkpoints.create_model(name, num_classes, checkpoint, size)
