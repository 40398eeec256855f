"""The device side in Python: runs a job folder, writes the protocol's lines.

    python -m mobilemod.harness.worker JOBFOLDER --kind host

It needs the standard library, NumPy, Pillow, the runtime of the model files, and of mobilemod the
few light modules in `FILES`: `copy_to` puts those into a folder that can be taken to a device whose
Python knows nothing of mobilemod, and is put on `PYTHONPATH` there.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from mobilemod import targets

MODULE = "mobilemod.harness.worker"
# Below the folder that holds the package `mobilemod`; nothing else of it is imported.
FILES = (
    "mobilemod/__init__.py",
    "mobilemod/errors.py",
    "mobilemod/files.py",
    "mobilemod/data/__init__.py",
    "mobilemod/data/image_file.py",
    "mobilemod/data/preprocess.py",
    "mobilemod/data/resample.py",
    "mobilemod/data/rgb.py",
    "mobilemod/evaluation/__init__.py",
    "mobilemod/evaluation/runs.py",
    "mobilemod/harness/__init__.py",
    "mobilemod/harness/protocol/__init__.py",
    "mobilemod/harness/protocol/held.py",
    "mobilemod/harness/protocol/job.py",
    "mobilemod/harness/protocol/job_folder.py",
    "mobilemod/harness/protocol/job_read.py",
    "mobilemod/harness/protocol/lines.py",
    "mobilemod/harness/protocol/values.py",
    "mobilemod/harness/worker/__init__.py",
    "mobilemod/harness/worker/__main__.py",
    "mobilemod/harness/worker/digest.py",
    "mobilemod/harness/worker/execute.py",
    "mobilemod/harness/worker/facts.py",
    "mobilemod/harness/worker/inputs.py",
    "mobilemod/harness/worker/pte_native.py",
    "mobilemod/harness/worker/runtimes.py",
    "mobilemod/harness/worker/timing.py",
    "mobilemod/machine/__init__.py",
    "mobilemod/machine/sharing.py",
    *sorted(f"mobilemod/targets/{p.name}" for p in Path(targets.__file__).parent.glob("*.py")),
)


def copy_to(folder: Path) -> Path:
    """Copy the worker's modules into `folder`, which is returned; put it on `PYTHONPATH`."""
    root = Path(__file__).resolve().parents[3]
    for name in FILES:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, target)
    return folder
