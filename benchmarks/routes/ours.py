"""Our files of any network: the canonical form, int8 by `RECIPE`, lowered for each runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure.int8_share import int8_share
from benchmarks.routes.candidates import OURS, Candidate
from benchmarks.routes.plain_routes import FLOAT, INT8, MOBILE, Route, build
from benchmarks.routes.zoo import CLASSES, ZooNetwork

SUFFIXES = {"executorch": ".pte", "tflite": ".tflite"}
FACTS = "facts.json"
RECIPE = "cpu"
CHECKED = 4  # images that the form is compared on


def our_files(network: ZooNetwork, path: Path) -> None:
    """A folder with a float and an int8 file for each runtime, and `FACTS` about the form.

    As `mobilemod export` makes them.
    """
    from export.targets.base import FORMS, ModelInfo
    from export.targets.target import get_target
    from mobilemod.forms.canonical import canonical_form
    from quantization.prepare.preparation import prepare
    from quantization.program import make_table, quantize
    from quantization.recipe import load_recipe

    path.mkdir()
    images = torch.from_numpy(network.images[:CHECKED])
    published, recipe = network.published(), load_recipe(RECIPE)
    canonical = canonical_form(published, tuple(images.shape[1:]))
    form = canonical.form(FORMS["xnnpack"])
    facts = {"exact": form_error(published, form, images), "left": list(canonical.left)}
    prepared = prepare(canonical, recipe, network.folder, network.preprocess)
    adjusted = canonical.with_state(prepared.state).form(FORMS["xnnpack"])
    table = make_table(adjusted, "xnnpack", recipe, prepared.calibration)
    info = ModelInfo(network.name, tuple(map(str, range(CLASSES))), network.preprocess)
    for name, suffix in SUFFIXES.items():
        target = get_target(name)
        for precision in (FLOAT, INT8):
            int8 = precision == INT8
            program = quantize(adjusted, table, target.facts.fold) if int8 else form
            file = path / f"{precision}{suffix}"
            try:
                target.lower(program, info, file, int8=int8)
            except Exception as error:  # one runtime's refusal leaves the other its files
                facts[file.name] = f"{type(error).__name__}: {str(error)[:200]}"
    (path / FACTS).write_text(json.dumps(facts))


@torch.no_grad()
def form_error(module: torch.nn.Module, form: torch.nn.Module, images: torch.Tensor) -> float:
    """The farthest output of `form` from the module's, as a share of the largest."""
    expected = module(images)
    return float((form(images) - expected).abs().max() / expected.abs().max())


ROUTE = Route(OURS, OURS, "", "", ("torch", "executorch", "litert-torch"), our_files, MOBILE)


def zoo_candidates(network: ZooNetwork) -> tuple[list[Candidate], dict[str, Any]]:
    """A row for each of our files with its int8 share, and what `FACTS` says; a reason where none.

    int8_share is 0..1 of convolution and linear multiply-accumulates.
    """
    built = build(ROUTE, network)
    facts: dict[str, Any] = {}
    if built.path is not None:
        facts = json.loads((built.path / FACTS).read_text())
    rows = []
    for suffix in SUFFIXES.values():
        for precision in (INT8, FLOAT):
            name = f"{precision}{suffix}"
            path = None if built.path is None else built.path / name
            reason = built.reason or facts.get(name, "")
            row = Candidate(f"{OURS}-{suffix[1:]}-{precision}", OURS, precision, suffix, MOBILE,
                            path if not reason else None, reason, built.seconds)  # fmt: skip
            rows.append(row)
    return rows, facts


def share(row: Candidate) -> float | None:
    """The int8 part of a file's multiply-accumulates, 0..1, None where it isn't known."""
    return None if row.path is None else int8_share(row.path)
