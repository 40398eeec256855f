"""The search for a mixed precision of a bundle, from its files and images to a recipe."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from export.bundle_parts import OpenedBundle
from export.measure.search_costs import (
    Costs,
    mac_costs,
    measured_profiles,
    saved_profiles,
    time_costs,
)
from export.measure.search_judge import BATCH, Judge
from export.measure.sensitivity import SensitivityConfig, make_setup
from export.targets.base import FORMS
from export.targets.target import get_target
from mobilemod.data.dataset import DataSet
from mobilemod.data.imagefolder import ImageFolder
from mobilemod.data.listing import joined
from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import Drop
from mobilemod.files import write_json
from mobilemod.manifest import Bundle, load_bundle
from mobilemod.results.report.page import write_report
from mobilemod.results.search.page import write_page, write_plot
from mobilemod.results.verdict import FAIL, PASS, UNDECIDED
from mobilemod.targets import TARGETS
from mobilemod.tasks import task_field
from mobilemod.tasks.task import Agreement, Reference, Task
from mobilemod.workers import worker_pool
from quantization.recipe import Recipe
from quantization.search.flow import Flow, trace_flow
from quantization.search.mixed import Mix, Search, Share, gain_db
from quantization.search.recipe import mixed_recipe
from quantization.sensitivity.record import number

SCHEMA = "mobilemod/search/1"
COSTS = ("ms", "macs")
LOOK = 0.75  # after a failed check the divergence falls by a quarter before the next


@dataclass(frozen=True)
class SearchConfig:
    """What to search for; `target` None is the one that is `searched_first`, else the first that
    the bundle holds.

    max_drop: points of the metric. cost: "ms" or "macs", None: time where it can be measured.
    profiles: saved ones of the int8 and the float file. images: training images that guide.
    limit: at most so many validation images. out: None is the bundle's folder `search`.
    """

    bundle: Path
    data: Path | DataSet
    max_drop: float = 0.5
    target: str | None = None
    cost: str | None = None
    profiles: tuple[Path, ...] = ()
    images: int = 256
    limit: int | None = None
    out: Path | None = None

    def __post_init__(self) -> None:
        if self.target is not None:
            get_target(self.target)
        if self.cost is not None and self.cost not in COSTS:
            raise UserError(f"--cost {self.cost!r} is not one of {', '.join(COSTS)}")
        if self.profiles and (len(self.profiles) != 2 or self.cost == "macs"):
            raise UserError("--profile takes INT8.json,FLOAT.json, and no --cost macs beside it")
        if self.images < BATCH:
            raise UserError(f"--images must be {BATCH} or more")
        if self.limit is not None and self.limit < 1:
            raise UserError("--limit must be 1 or more")
        if not math.isfinite(self.max_drop):
            raise UserError("--max-drop must be a number of points")


@dataclass(frozen=True)
class FrontPoint:
    """A point of the front. checked: its drop on the validation images, None: not looked at."""

    mix: Mix
    checked: Drop | None
    removed: tuple[str, ...] = ()

    def meets(self, max_drop: float) -> bool:
        """Whether the drop was looked at and is small enough."""
        return self.checked is not None and self.checked.points <= max_drop + 1e-9


def search_bundle(config: SearchConfig) -> tuple[dict[str, Any], Path]:
    """The record of the search, and where its page is: with `out` beside record, recipe and plot,
    else the bundle's report.

    Every batch's result is cached by content, so that an interrupted run goes on where it was.
    """
    bundle = load_bundle(config.bundle, verify=False)
    opened = OpenedBundle(bundle)
    target = _target(bundle, config)
    form = TARGETS[target].form
    setup = make_setup(SensitivityConfig(config.bundle, config.data, form))
    base = opened.recipe
    guides, checks = _images(bundle, config, base)
    flows, modules = _flows(opened)
    flow = flows[form]
    costs, profiles = mac_costs(flow), ()
    if get_target(target).has("cut") and config.cost != "macs":
        profiles = (
            saved_profiles(target, *config.profiles)
            if config.profiles
            else measured_profiles(bundle, target)
        )
        costs = time_costs(flow, *profiles)
    with worker_pool() as pool:
        guide = Judge(pool, setup, guides, "measuring")
        judge = Judge(pool, setup, checks, "checking")
        candidates = flow.candidates(modules)
        search = Search(flow, candidates, costs.total, costs.least, guide.effects)
        steps = _steps(search, judge, config.max_drop)
        state, reason = _outcome(steps[-1], config.max_drop, judge.reference_accuracy())
        met = state == PASS
        shares = search.shares(steps[-1].mix) if met else {}
    out = config.out or config.bundle / "search"
    file = out / f"{base.name}-mixed.json"
    if met:
        recipe = _recipe(base, list(flows.values()), shares, costs, target, config, bundle.task)
        write_json(file, recipe.to_dict())
    damaged = {**guide.damaged, **judge.damaged}
    record = {
        "schema": SCHEMA,
        **task_field(bundle.manifest.task),
        "model": bundle.manifest.model,
        "weights": bundle.manifest.checkpoint.weights,
        "form": form,
        "target": target,
        "recipe": base.name,
        "max_drop": config.max_drop,
        "met": met,
        "state": state,
        "reason": reason,
        "unit": costs.unit,
        "profiles": [
            {"file": p.file, "threads": p.threads, "whole_ms": p.whole_ms, "sum_ms": p.sum_ms}
            for p in profiles
        ],
        "images": guide.count,
        "check_images": judge.count,
        "data": checks.about(opened.calibrated_on),
        "damaged": sorted(damaged),
        "reasons": [damaged[file] for file in sorted(damaged)],
        "left_out": joined((guides.left_out, checks.left_out)),
        "candidates": len(candidates),
        "steps": [
            _step_record(steps[max(0, i - 1)], s, flow, bundle.task.agreement)
            for i, s in enumerate(steps)
        ],
        "float": [
            {"module": m, "gain_db": number(s.gain_db), "cost": s.cost} for m, s in shares.items()
        ],
        "file": file.name if met else None,
    }
    write_json(out / f"search-{target}.json", record)
    page = out / f"search-{target}.html"
    write_plot(record, page.with_suffix(".svg"))
    if config.out is None:
        return record, write_report(config.bundle)
    write_page(record, page)
    return record, page


def _outcome(
    last: FrontPoint, max_drop: float, reference: Reference | None
) -> tuple[str, str | None]:
    """Whether the front ends within the drop, and why that is undecided where it is."""
    if last.checked is None or not last.meets(max_drop):
        return FAIL, None
    reason = reference and reference.doubt(asdict(last.checked))
    return (PASS, None) if reason is None else (UNDECIDED, reason)


def _target(bundle: Bundle, config: SearchConfig) -> str:
    # A recipe says nothing to what observes ranges of its own.
    targets = {entry.target for entry in bundle.manifest.files}
    there = {target for target in targets if not TARGETS[target].own_ranges}
    known = sorted((t for t in TARGETS if t in there), key=lambda t: not TARGETS[t].searched_first)
    target = config.target or next(iter(known), None)
    if target is None or target not in there:
        raise UserError(
            f"{bundle.folder} holds no file of {target or 'any target'}; "
            f"it has {', '.join(sorted(there)) or 'none'}"
        )
    if not get_target(target).has("cut") and (config.cost == "ms" or config.profiles):
        raise UserError(f"{target} files can't be profiled here; give --cost macs")
    return target


def _images(
    bundle: Bundle, config: SearchConfig, recipe: Recipe
) -> tuple[ImageFolder, ImageFolder]:
    """Training images that calibration has not seen, and validation images.

    The first are ordered so that every batch spans the classes.
    """
    root = DataSet.of(config.data).root
    folder = root / "train"
    if root.is_dir() and not folder.is_dir():
        raise UserError(f"{root} has no folder train; the search is guided by its images")
    train, val = (bundle.read(config.data, split) for split in ("train", "val"))
    seen = {s.path for s in train.spread(recipe.calibration_images).samples}
    unseen = [i for i, s in enumerate(train.samples) if s.path not in seen]
    if not unseen:
        raise UserError(f"calibration took all images of {folder}; the search needs others")
    chosen = train.subset(unseen).spread(config.images)
    count = math.ceil(len(chosen.samples) / BATCH)
    order = [i for first in range(count) for i in range(first, len(chosen.samples), count)]
    return chosen.subset(order), val if config.limit is None else val.spread(config.limit)


def _flows(opened: OpenedBundle) -> tuple[dict[str, Flow], list[str]]:
    """The flow of every form under the recipe, and the published modules in network order."""
    names = opened.canonical.modules
    flows = {
        form: trace_flow(opened.mobile(form, False), form, opened.recipe, names) for form in FORMS
    }
    return flows, names


def _steps(search: Search, judge: Judge, max_drop: float) -> list[FrontPoint]:
    """The points of the front; the last one meets the drop if any does."""

    def looked_at(mix: Mix, removed: tuple[str, ...] = ()) -> FrontPoint:
        return FrontPoint(mix, judge.drop(search.flow.selection(mix.modules)), removed)

    steps = [looked_at(search.start())]
    failed = math.inf
    while not steps[-1].meets(max_drop):
        last = steps[-1]
        failed = last.mix.kl if last.checked else failed
        mix = search.add(last.mix)
        # With nothing int8 it would be the float network.
        if mix is not None and search.flow.selection(mix.modules):
            steps.append(looked_at(mix) if mix.kl <= LOOK * failed else FrontPoint(mix, None))
        elif last.checked:
            return steps
        else:
            steps[-1] = looked_at(last.mix)
    pruned = search.prune(steps[-1].mix)
    if pruned.modules != steps[-1].mix.modules:
        gone = tuple(m for m in steps[-1].mix.modules if m not in pruned.modules)
        step = looked_at(pruned, gone)
        if step.meets(max_drop):
            steps.append(step)
    return steps


def _recipe(
    base: Recipe,
    flows: list[Flow],
    shares: dict[str, Share],
    costs: Costs,
    target: str,
    config: SearchConfig,
    task: Task,
) -> Recipe:
    """The recipe of a mix; the base recipe with a note where nothing need be float."""
    if not shares:
        note = f"As it is, it loses at most {config.max_drop:g} points (mobilemod search)."
        return dataclasses.replace(base, description=f"{base.description} {note}".strip())
    reasons = {m: _reason(share, costs.unit, target) for m, share in shares.items()}
    text = (
        f"As {base.name}, with {len(shares)} modules float so that {task.metric.name} drops by at "
        f"most {config.max_drop:g} points; found by mobilemod search."
    )
    return mixed_recipe(base, flows, reasons, text)


def _reason(share: Share, unit: str, target: str) -> str:
    gain = f"gains {share.gain_db:.2f} dB" if math.isfinite(share.gain_db) else "is needed"
    return f"{gain}, costs {share.cost:.3f} {unit}" + (f" in {target}" if unit == "ms" else "")


def _step_record(
    before: FrontPoint, step: FrontPoint, flow: Flow, agreement: Agreement
) -> dict[str, Any]:
    e = step.mix.effect
    return {
        "added": step.mix.added,
        "removed": list(step.removed),
        "modules": list(step.mix.modules),
        "cost": step.mix.cost,
        "kl": number(e.kl),
        "sqnr_db": number(e.sqnr_db),
        "identical": e.sqnr_db == math.inf,
        "gain_db": number(gain_db(before.mix.effect, e)),
        agreement.effect_key: e.agreement,
        "int8_share": flow.int8_share(step.mix.modules),
        "drop": dataclasses.asdict(step.checked) if step.checked else None,
    }
