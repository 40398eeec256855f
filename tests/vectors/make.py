"""Writes the shared vectors: `python -m tests.vectors.make`. README.md says what they hold."""

from __future__ import annotations

import base64
import hashlib
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilemod.data.preprocess import Preprocess
from mobilemod.files import write_text
from tests.vectors import maps, png, runs, segments
from tests.vectors.lines import line

FOLDER = Path(__file__).parent
ORIENTATION_TAG = 0x0112
SAMPLES = 12


def draw(pattern: str, width: int, height: int, channels: int) -> np.ndarray:
    """uint8 (height, width, channels) of a formula that every language can compute."""
    y, x, c = np.indices((height, width, channels), dtype=np.uint32)
    if pattern == "ramp":
        value = 3 * x + 5 * y + 40 * c + (x * y >> 4)
    elif pattern == "checks":
        value = ((x >> 3) + (y >> 3) + c) % 2 * 255
    elif pattern == "noise":
        h = (x * np.uint32(73856093)) ^ (y * np.uint32(19349663)) ^ (c * np.uint32(83492791))
        h = (h ^ (h >> 13)) * np.uint32(0x5BD1E995)
        value = h ^ (h >> 15)
    else:
        raise ValueError(pattern)
    return (value & 255).astype(np.uint8)


def as_image(pixels: np.ndarray, orientation: int) -> Image.Image:
    """A Pillow image of (h, w, 1, 3 or 4) with an EXIF orientation."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.getexif()[ORIENTATION_TAG] = orientation
    return image


def preprocess_case(
    name: str,
    width: int,
    height: int,
    pattern: str = "ramp",
    channels: int = 3,
    orientation: int = 1,
    **changes: Any,
) -> dict[str, Any]:
    """One case with what Python makes of it."""
    spec = Preprocess(**{"size": 32, **changes})
    image = as_image(draw(pattern, width, height, channels), orientation)
    pixels = spec.pixels(image)
    tensor = spec.normalize(pixels).ravel()
    step = max(1, tensor.size // SAMPLES)
    return {
        "name": name,
        "width": width,
        "height": height,
        "channels": channels,
        "pattern": pattern,
        "orientation": orientation,
        "preprocess": spec.to_dict(),
        "pixels": base64.b64encode(pixels.tobytes()).decode(),
        "tensor": [[i, float(tensor[i])] for i in range(0, tensor.size, step)],
    }


def preprocess_cases() -> list[dict[str, Any]]:
    """Odd sizes, grey, alpha, orientations, tiny and huge, every interpolation."""
    case = preprocess_case
    found = [
        case("landscape", 97, 61),
        case("portrait, noise", 61, 97, "noise"),
        case("square, sharp edges overshoot", 80, 80, "checks"),
        case("grey", 75, 50, "noise", 1),
        case("alpha is dropped", 50, 75, "noise", 4),
        case("one pixel", 1, 1),
        case("tiny, enlarged", 3, 5, "noise"),
        case("one row", 200, 1),
        case("very wide", 640, 5, "noise"),
        case("very tall", 3, 500, "noise"),
        case("no resize, no crop", 32, 32, "noise", crop_fraction=1.0),
        case("no resize, crop only", 43, 36, "noise"),
        case("half rounds to even, down", 65, 64, "noise", crop_fraction=1.0),
        case("half rounds to even, up", 67, 64, "noise", crop_fraction=1.0),
        case("odd margins", 36, 45, "noise"),
        case("bilinear", 97, 61, "noise", interpolation="bilinear"),
        case("bilinear, enlarged", 9, 7, "checks", interpolation="bilinear"),
        case("nearest", 97, 61, "noise", interpolation="nearest"),
        case("nearest, enlarged", 9, 7, "noise", interpolation="nearest"),
        case("other statistics", 70, 60, mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.125)),
        case("another size and fraction", 150, 120, "noise", size=64, crop_fraction=0.875),
        case("network's size", 320, 240, "noise", size=224),
        case("huge", 4000, 3000, "noise"),
        case("huge, smooth", 3001, 2003),
        case("tall, shrunk: rows before columns", 118, 295, "noise"),
        case("the same of a turned image", 295, 118, "noise", orientation=6),
        case("rows before columns, bilinear", 73, 673, "noise", interpolation="bilinear"),
        case("rows before columns, by one row", 50, 102, "noise"),
        case("columns before rows, by one row", 50, 101, "noise"),
        case("long, shrunk", 9000, 70, "noise"),
        case("high, shrunk", 70, 9000, "noise"),
        case("3 x 5000", 3, 5000, "noise"),
        case("5000 x 3, bilinear", 5000, 3, "noise", interpolation="bilinear"),
        case("5000 x 3, nearest", 5000, 3, "noise", interpolation="nearest"),
        case("12000 x 1", 12000, 1, "noise"),
        case("1 x 12000", 1, 12000, "noise"),
        case("12000 x 1, nearest", 12000, 1, "noise", interpolation="nearest"),
        case("1 x 12000, nearest", 1, 12000, "noise", interpolation="nearest"),
        case("12000 x 1, network's size", 12000, 1, "noise", size=224),
        case("60000 x 1", 60000, 1, "noise"),
        case("60000 x 1, turned", 60000, 1, "noise", orientation=8),
        case("1 x 60000, turned", 1, 60000, "noise", 1, 5),
        # A side of 2,241,000,000 pixels.
        case("resized, more than 32 bits count", 9_000_000, 1, "noise", 1, size=224),
    ]
    found += [
        case("rectangle, landscape", 97, 61, size=(24, 40)),
        case("rectangle, portrait of landscape", 97, 61, "noise", size=(40, 24)),
        case("rectangle, its own ratio", 100, 60, "noise", size=(24, 40)),
        case("rectangle, half rounds to even", 65, 64, "noise", size=(32, 24), crop_fraction=1.0),
        case("rectangle, no resize", 40, 24, "noise", size=(24, 40), crop_fraction=1.0),
        case("rectangle, bilinear, turned", 61, 97, orientation=6, size=(30, 20),
             interpolation="bilinear"),
        case("rectangle, nearest", 61, 97, "noise", size=(20, 30), interpolation="nearest"),
        case("rectangle, one row", 200, 1, size=(20, 30)),
        case("rectangle, rows before columns", 118, 295, "noise", size=(20, 30)),
        case("rectangle, 1 x 12000", 1, 12000, "noise", size=(20, 30)),
        case("stretched", 97, 61, "noise", fit="stretch", crop_fraction=1.0),
        case("stretched, with a margin", 97, 61, "noise", fit="stretch", crop_fraction=0.875),
        case("stretched to a rectangle", 97, 61, size=(40, 24), fit="stretch"),
        case("stretched, wider and lower", 20, 200, "noise", fit="stretch", crop_fraction=1.0),
        case("stretched, narrower and higher", 200, 20, "noise", fit="stretch", crop_fraction=1.0,
             interpolation="bilinear"),
        case("stretched, nearest", 97, 61, "noise", size=(24, 40), fit="stretch",
             interpolation="nearest"),
        case("stretched, turned", 97, 61, orientation=6, size=(24, 40), fit="stretch"),
        case("stretched, 60000 x 1", 60000, 1, "noise", fit="stretch"),
        case("letterboxed", 97, 61, "noise", fit="letterbox", crop_fraction=1.0),
        case("letterboxed, high", 61, 97, fit="letterbox", crop_fraction=1.0,
             interpolation="bilinear"),
        case("letterboxed, odd bars", 80, 70, size=(24, 40), fit="letterbox", crop_fraction=1.0),
        case("letterboxed, own ratio", 80, 48, size=(24, 40), fit="letterbox",
             crop_fraction=1.0),
        case("letterboxed, cropped across", 97, 61, "noise", fit="letterbox", crop_fraction=0.7),
        case("letterboxed, turned", 97, 61, orientation=6, size=(24, 40), fit="letterbox",
             crop_fraction=1.0),
        case("letterboxed, larger", 9, 5, "noise", fit="letterbox", crop_fraction=1.0,
             interpolation="nearest"),
        case("letterboxed, 60000 x 1", 60000, 1, "noise", fit="letterbox", crop_fraction=1.0),
    ]  # fmt: skip
    found += [case(f"orientation {o}", 53, 37, "ramp", 3, o) for o in range(1, 9)]
    return found


def top_k_case(logits: list[float | None], k: int) -> dict[str, Any]:
    """The best k classes."""
    finite = [(c, v) for c, v in enumerate(logits) if v is not None]
    best = sorted(finite, key=lambda pair: (-pair[1], pair[0]))[:k]
    whole = len(finite) == len(logits)
    data = np.array([v for _, v in finite], "<f4").tobytes()
    return {
        "logits": logits,
        "k": k,
        "top": [list(pair) for pair in best],
        "sha256": hashlib.sha256(data).hexdigest() if whole else None,
    }


def top_k_cases() -> list[dict[str, Any]]:
    """Ties, fewer classes than k, values that aren't finite, a thousand classes."""
    rng = np.random.default_rng(5)
    many = rng.standard_normal(1000).astype(np.float32)
    return [
        top_k_case([0.5, 2.0, -1.0, 1.5, 0.25, 1.0], 5),
        top_k_case([1.0, 3.0, 3.0, 1.0, 3.0, 0.0], 4),
        top_k_case([0.25, 0.5], 5),
        top_k_case([None, 0.5, None, 2.0], 3),
        top_k_case([None, None], 5),
        top_k_case([-0.0, 0.0, -1.0], 2),
        top_k_case([float(v) for v in many], 5),
    ]


def percentile_case(values: list[float]) -> dict[str, Any]:
    """Nearest-rank percentiles."""
    ordered = sorted(values)
    ranks = {f"p{q}": ordered[(q * len(values) + 99) // 100 - 1] for q in (50, 90, 99)}
    mean = statistics.fmean(values)
    return {"values": values, **ranks, "min": ordered[0], "max": ordered[-1], "mean": mean}


def warm_up_case(values: list[float], limit: int) -> dict[str, Any]:
    """After how many runs warm-up ends."""
    runs = None
    for n in range(1, len(values) + 1):
        stable = False
        if n >= 16:
            last, before = (
                statistics.median(v) for v in (values[n - 8 : n], values[n - 16 : n - 8])
            )
            stable = abs(last - before) <= 0.05 * before
        if stable or n >= limit:
            runs = n
            break
    return {"milliseconds": values, "max": limit, "runs": runs}


def statistics_cases() -> dict[str, Any]:
    """Percentiles and the end of warm-up."""
    rng = np.random.default_rng(7)
    random = [round(float(v), 4) for v in rng.gamma(4, 2, 257)]
    falling = [round(10 + 20 * 0.9**n, 4) for n in range(60)]
    return {
        "percentiles": [
            percentile_case([3.5]),
            percentile_case([2.0, 1.0]),
            percentile_case([float(v) for v in range(1, 11)]),
            percentile_case([float(v) for v in range(100, 0, -1)]),
            percentile_case(random),
        ],
        "warm_up": [
            warm_up_case([5.0] * 20, 50),
            warm_up_case(falling, 100),
            warm_up_case(falling, 20),
            warm_up_case(falling[:10], 20),
            warm_up_case([1.0, 2.0] * 8, 50),
        ],
    }


def protocol_cases() -> dict[str, Any]:
    """Lines, paths, ids, and what is left to do after an interruption."""
    job = hashlib.sha256(b"job").hexdigest()
    short, run = job[:16], "00112233445566aa"
    head = {"job": short, "run": run}
    image = {
        "type": "image", **head, "seq": 3, "t": 1.25, "configuration": 0, "image": 7,
        "top": [[2, 1.5], [0, -0.25]], "logits_sha256": "ab" * 32, "preprocess_ms": 3.5,
        "inference_ms": 5,
    }  # fmt: skip
    error = {
        "type": "error", **head, "seq": 4, "t": 2, "where": "decode", "configuration": None,
        "image": 1, "message": 'größe "x"\n\\ \u2028 \U0001f41f ,"crc":"00000000"', "fatal": False,
    }  # fmt: skip
    good = [line(image), line(error)]
    swapped = good[0].replace('"image":7', '"image":8')
    bad = [
        good[0][:-1],
        good[0][: len(good[0]) // 2],
        swapped,
        good[0][:-10] + good[0][-10:].upper().replace('"}', '" }'),
        good[0] + good[0],
        good[0].replace(',"crc"', ', "crc"'),
        json.dumps(image),
        "",
        "null",
        "\u0000\u0001garbage",
        "[" * 5000,
    ]
    lines = [{"text": text, "ok": True, "value": value} for text, value in
             zip(good, (image, error), strict=True)]  # fmt: skip
    lines += [{"text": text, "ok": False} for text in bad]
    return {
        "lines": lines,
        "paths": {
            "good": ["job.json", "models/a_int8.tflite", "inputs/000001.jpg", "a/b/c.D-1"],
            "bad": [
                "", "/etc/passwd", "../job.json", "models/../../x", "models//x", "./x", "x/", "a b",
                "a\\b", "C:x", "x/..", "x\u0000y", "models/ä", "x/.", "~", "a/%2e%2e/b", "x\n",
            ],
        },
        "ids": {
            "good": [job],
            "bad": [
                "", job[:-1], job.upper(), job + "0", "../" + job[3:], job[:-1] + "g", job + "\n",
            ],
        },
        "resume": resume_case(job),
    }  # fmt: skip


def resume_case(job: str) -> dict[str, Any]:
    """A stream of an interrupted job: two files, six inputs."""
    files = ["a_int8.tflite", "a_float32.tflite"]
    lines, seq = [], 0

    def add(run: str, configuration: int, image: int, of: str = job) -> None:
        nonlocal seq
        lines.append(line({
            "type": "image", "job": of[:16], "run": run, "seq": seq, "t": seq / 2,
            "configuration": configuration, "image": image, "top": [[0, 1.0]],
            "logits_sha256": "cd" * 32, "preprocess_ms": 1.0, "inference_ms": 2.0,
        }))  # fmt: skip
        seq += 1

    for i in range(3):
        add("0" * 16, 0, i)
    lines.append(lines[-1])
    add("0" * 16, 0, 3, of="f" * 64)
    add("0" * 16, 1, 0)
    lines.append(lines[-1].replace('"image":0', '"image":5'))
    add("0" * 15 + "1", 1, 2)
    lines.append(lines[0][:40])
    return {
        "job": job,
        "files": files,
        "configurations": [{"file": f, "threads": 1, "delegate": "cpu"} for f in files],
        "count": 6,
        "lines": lines,
        "answered": {files[0]: [[5, 5]], files[1]: [[0, 1]]},
        "left": {files[0]: [3, 4], files[1]: [3, 4, 5]},
    }


def contents() -> dict[str, str]:
    """File name -> text of every vector file."""
    values = {
        "preprocess.json": {"cases": preprocess_cases()},
        "png.json": {"cases": png.cases()},
        "top_k.json": {"cases": top_k_cases()},
        "statistics.json": statistics_cases(),
        "protocol.json": protocol_cases(),
        "segments.json": segments.contents(),
        "runs.json": runs.contents(),
        "maps_protocol.json": maps.protocol(),
        "maps_runs.json": maps.runs(),
    }
    return {k: json.dumps(v, indent=None, ensure_ascii=True) + "\n" for k, v in values.items()}


if __name__ == "__main__":
    for name, text in contents().items():
        write_text(FOLDER / name, text)
