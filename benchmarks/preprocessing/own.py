"""Python's preparation of a decoded image, timed as the other languages' entries time theirs.

python -m benchmarks.preprocessing.own FILE.rgb WIDTH HEIGHT REPEATS MANIFEST.json

FILE.rgb: uint8 (HEIGHT, WIDTH, 3), raw. Prints one JSON object: `milliseconds` of each repeat, and
`sha256` of the prepared pixels, uint8 (height, width, 3).
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from mobilemod.data.preprocess import Preprocess


def main(arguments: list[str]) -> None:
    """Time, and print."""
    file, width, height, repeats, manifest = arguments
    pixels = np.fromfile(file, np.uint8).reshape(int(height), int(width), 3)
    preprocess = Preprocess.from_dict(json.loads(Path(manifest).read_text())["preprocess"])
    image, milliseconds = Image.fromarray(pixels), []
    for _ in range(int(repeats)):
        start = time.perf_counter()
        prepared = preprocess.pixels(image)
        milliseconds.append((time.perf_counter() - start) * 1e3)
    sha256 = hashlib.sha256(prepared.tobytes()).hexdigest()
    print(json.dumps({"milliseconds": milliseconds, "sha256": sha256}))


if __name__ == "__main__":
    main(sys.argv[1:])
