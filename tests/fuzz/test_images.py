"""Changed image files through reading and preprocessing: an array, or the image's damage.

`MOBILEMOD_FUZZ=100000` sets how many. Decoders are C, so that they run in a process of their own:

    python -m tests.fuzz.test_images SEED FIRST COUNT FOLDER
"""

from __future__ import annotations

import faulthandler
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from mobilemod.data.image_file import MAX_PIXELS, DamagedImage
from mobilemod.data.imagefolder import load_pixels
from mobilemod.data.preprocess import Preprocess
from mobilemod.workers import peak_memory
from tests.fuzz.mutations import corpus, mutated

ROOT = Path(__file__).resolve().parents[2]
COUNT = int(os.environ.get("MOBILEMOD_FUZZ", "1000"))
SEED = 8
SECONDS = 10
SMALL = Preprocess(size=64)
# Four bytes a pixel as decoded, in RGB and turned; and what Python, NumPy and Pillow take.
PEAK_MB = 3 * 4 * MAX_PIXELS / 1e6 + 300


def run(seed: int, first: int, count: int, folder: Path) -> dict:
    """Read these files; what came of them. The file at work stands in `folder` all the time."""
    files, found, slowest = corpus(), Counter(), 0.0
    for number in range(first, first + count):
        path = folder / "image.jpg"
        path.write_bytes(mutated(files, seed, number))
        (folder / "number").write_text(str(number))
        # Processor time is what counts: a busy machine stretches the other.
        faulthandler.dump_traceback_later(10 * SECONDS, exit=True)
        begin = time.process_time()
        try:
            pixels = load_pixels(path, SMALL)
        except DamagedImage as error:
            assert error.kind and "\n" not in str(error) and len(str(error)) < 300
            found[error.kind] += 1
        else:
            assert pixels.shape == (64, 64, 3) and pixels.dtype == np.uint8
            found["read"] += 1
        slowest = max(slowest, time.process_time() - begin)
        faulthandler.cancel_dump_traceback_later()
    return {"found": dict(found), "slowest_seconds": slowest, "peak_mb": peak_memory() / 1e6}


def test_changed_images(tmp_path):
    arguments = [str(SEED), "0", str(COUNT), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.test_images", *arguments],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONFAULTHANDLER": "1"},
    )  # fmt: skip
    where = f"file {(tmp_path / 'number').read_text()} of seed {SEED}, kept in {tmp_path}"
    assert done.returncode == 0, f"{where}: exit {done.returncode}\n{done.stderr[-3000:]}"
    said = json.loads(done.stdout)
    print(said)
    assert sum(said["found"].values()) == COUNT
    # Files of each sort come up: whole ones too, so that it is no list of refusals.
    assert said["found"]["read"] > COUNT / 10 and said["found"]["cut off"] > COUNT / 50
    assert said["found"]["too large"] > 0 and said["found"]["damaged"] > COUNT / 50
    assert said["slowest_seconds"] < SECONDS and said["peak_mb"] < PEAK_MB


def test_every_unchanged_file_is_read(tmp_path):
    for data in corpus():
        (tmp_path / "a.jpg").write_bytes(data)
        assert load_pixels(tmp_path / "a.jpg", SMALL).std() > 1


if __name__ == "__main__":
    print(json.dumps(run(*map(int, sys.argv[1:4]), Path(sys.argv[4]))))
