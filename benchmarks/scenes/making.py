"""All scenes of a folder, by one process or several."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from benchmarks.scenes.compose import compose
from benchmarks.scenes.folder import SceneFolder
from benchmarks.scenes.look import Look
from benchmarks.scenes.photographs import Photographs, Sources, read_sources
from mobilemod.closure import code_digest
from mobilemod.files import only_one
from mobilemod.progress import progress
from mobilemod.workers import worker_pool

BACKGROUND_NAME = "background"
# Scenes that a worker process is given at a time: some seconds of work.
CHUNK = 50


@dataclass(frozen=True)
class Making:
    """What scenes are made: of which split, in which look."""

    photographs: Photographs
    folder: SceneFolder
    split: str
    seed: int
    size: int
    look: Look

    def __call__(self, indices: list[int]) -> list[int]:
        """Make and write these; gives them back."""
        return list(self.one_by_one(indices))

    def one_by_one(self, indices: list[int]) -> Iterator[int]:
        """The same, giving each when it is written."""
        for i in indices:
            scene = compose(self.photographs, self.seed, self.split, i, self.size, self.look)
            self.folder.write(self.split, i, scene)
            yield i


def make_scenes(
    data: Path, out: Path, size: int, counts: dict[str, int], seed: int, workers: int
) -> int:
    """Make what is missing of `counts` scenes by split in `out`; how many that were.

    Raises `UserError` as `read_sources`, `SceneFolder.begin` and `compose`, and where another
    process writes there.
    """
    sources, look, folder = read_sources(data), Look(), SceneFolder(out)
    names = [BACKGROUND_NAME, *sources.names]
    about = _about(sources, look, size, seed) | {"classes": names}
    out.mkdir(parents=True, exist_ok=True)
    made = 0
    with only_one(out, "writing scenes to"):
        folder.begin(about, counts, names)
        for split, count in counts.items():
            making = Making(sources.photographs[split], folder, split, seed, size, look)
            missing = folder.missing(split, count)
            done = _made(making, missing, workers)
            made += sum(1 for _ in progress(done, f"{split} scenes", len(missing), "scenes"))
        folder.end(about, counts)
    return made


def _made(making: Making, missing: list[int], workers: int) -> Iterator[int]:
    if workers == 1 or len(missing) <= CHUNK:
        yield from making.one_by_one(missing)
        return
    with worker_pool(workers) as pool:
        chunks = [missing[i : i + CHUNK] for i in range(0, len(missing), CHUNK)]
        for future in as_completed([pool.submit(making, chunk) for chunk in chunks]):
            yield from future.result()


def _about(sources: Sources, look: Look, size: int, seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "size": size,
        "look": asdict(look),
        "photographs": sources.facts,
        "code": code_digest("benchmarks.scenes.compose", "benchmarks.scenes.folder"),
        "versions": {"numpy": np.__version__, "pillow": PIL.__version__},
    }
