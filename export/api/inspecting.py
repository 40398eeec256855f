"""`mobilemod.inspect`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from export.auditing.audit import Inspection


def inspect(file: str | os.PathLike[str]) -> Inspection:
    """What is int8 in a model file, of this kit's or another exporter's.

    Modules are named where the file lies in its bundle. Raises `UserError` for a file that is
    missing, damaged or of no known kind.
    """
    from export.auditing.audit import inspect_file

    return inspect_file(Path(file))
