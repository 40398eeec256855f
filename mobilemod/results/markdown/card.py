"""A bundle as a folder that can be pushed to a hub of models: README.md with its metadata, and the
files.

The metadata's form is Hugging Face's (`huggingface_hub.ModelCardData`).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from mobilemod.errors import UserError, shown
from mobilemod.files import atomic_folder, write_text
from mobilemod.manifest import Bundle
from mobilemod.results.advice import shipping
from mobilemod.results.markdown.files import files_table
from mobilemod.results.markdown.table import plain, table
from mobilemod.results.report.known import REPORT_FOLDER, read_known
from mobilemod.results.report.page import PAGE_FILE
from mobilemod.results.schema import rows_by_file
from mobilemod.results.table import data_warnings
from mobilemod.targets import TARGETS

LIBRARY = "mobilemod"
CARD = "README.md"
# What a hub knows by these words; any other licence is "other", with its name.
LICENSES = ("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0",
            "cc-by-sa-4.0", "cc0-1.0", "gpl-3.0", "lgpl-3.0", "mpl-2.0", "unlicense")  # fmt: skip
NOT_MEASURED = "Not measured: `mobilemod validate BUNDLE --data DIR`."


def write_card(bundle: Bundle, out: Path) -> Path:
    """Write the folder, whole or not at all; the card's path.

    Files are linked to the bundle's where both lie on one disk, else copied. `UserError` where
    `out` is there already, or lies in the bundle.
    """
    if out.exists():
        raise UserError(f"--out {shown(out)} is there already; give another folder, or remove it")
    if bundle.folder.resolve() in out.resolve().parents:
        raise UserError(f"--out {shown(out)} lies in the bundle; give a folder beside it")
    bundle.verify()
    page = bundle.folder / REPORT_FOLDER / PAGE_FILE
    with atomic_folder(out) as folder:
        for name in ("manifest.json", *bundle.hashes):
            _place(bundle.folder / name, folder / name)
        if page.is_file():
            _place(page, folder / REPORT_FOLDER / PAGE_FILE)
        write_text(folder / CARD, card(bundle, page.is_file()))
    return out / CARD


def _place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_linked)
    else:
        _linked(source, target)


def _linked(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def card(bundle: Bundle, with_report: bool = False) -> str:
    """README.md: metadata, then what people want to know. Raises `UserError` as `read_known`."""
    manifest, known = bundle.manifest, read_known(bundle)
    record = known.validation if known.validation and known.validation["measured"] else None
    height, width = bundle.preprocess.sides
    classes = len(bundle.label_names)
    parts = [
        f"# {plain(manifest.model)}, int8 for phones",
        f"{known.task.name.capitalize()} of {classes} classes on {width} x {height} pixels, "
        f"quantized once to int8 (recipe `{manifest.recipe.name}`) and written for several "
        "runtimes: all int8 files have the same scales and zero points.",
        "## Which file",
        _which(bundle),
        "## Loading it",
        *_snippets(bundle),
        "Input, normalization, labels and test images with the answers that are right are in "
        "`manifest.json`: an app that reads it needs no constant of its own, and can test itself.",
        "## Measured",
        files_table(bundle, record),
        _images(record["data"]) if record else NOT_MEASURED,
        "The drop is paired with the float network image by image; its interval is a bootstrap's.",
        "## Intended use and limits",
        f"For applications on devices that need {_purpose(known.task.name)} among these classes: "
        f"{_classes(bundle)}. Images unlike those that it was trained and measured on, and other "
        "classes, give answers that are no better than a guess, with a confidence all the same. "
        "Measure it on images of your own before it decides anything, and on each kind of device.",
        "## Where it comes from",
        _origin(bundle),
    ]  # fmt: skip
    if with_report:
        parts.append(f"The whole [report]({REPORT_FOLDER}/{PAGE_FILE}).")
    return f"---\n{metadata(bundle, record)}\n---\n\n" + "\n\n".join(filter(None, parts)) + "\n"


def metadata(bundle: Bundle, record: dict[str, Any] | None) -> str:
    """The card's YAML: licence, library, task, and the int8 files' figures."""
    from huggingface_hub import EvalResult, ModelCardData

    manifest, task = bundle.manifest, bundle.task
    named = _said(bundle).get("license", "")
    license_id = named.lower() if named.lower() in LICENSES else "other"
    rows, results = rows_by_file(record["predictions"] if record else ()), []
    for entry in manifest.files:
        measured = rows.get(entry.file)
        if measured is None or entry.precision != "int8":
            continue
        results.append(
            EvalResult(
                task_type=f"image-{task.name}",
                dataset_type="imagefolder",
                dataset_name=f"{record['data']['images']} images of {record['data'].get('split')}",
                metric_type=task.metric.key.removesuffix("_percent"),
                metric_name=f"{task.metric.name} of {entry.file}, {task.metric.unit}",
                metric_value=round(measured[task.metric.key], 2),
            )
        )
    data = ModelCardData(
        license=license_id,
        license_name=(named or "unknown") if license_id == "other" else None,
        library_name=LIBRARY,
        pipeline_tag=f"image-{task.name}",
        tags=["int8", "mobile", *dict.fromkeys(TARGETS[e.target].folder for e in manifest.files)],
        model_name=manifest.model,
        eval_results=results or None,
    )
    return data.to_yaml().strip()


def _said(bundle: Bundle) -> dict[str, str]:
    """Author and licence of the weights, where they are known."""
    extra = bundle.manifest.model_extra or {}
    return {key: str(extra[key]) for key in ("author", "license") if extra.get(key)}


def _which(bundle: Bundle) -> str:
    rows = [
        [plain(row["where"]), f"`{row['file']}`", plain(row["engine"]), plain(row["why"])]
        for row in shipping(bundle)
        if row["file"]
    ]
    return table(["for", "file", "run by", "why"], rows, frozenset())


def _snippets(bundle: Bundle) -> list[str]:
    found = []
    for entry in bundle.manifest.files:
        for loading in TARGETS[entry.target].loading if entry.precision == "int8" else ():
            code = loading.code.format(file=entry.file)
            found.append(f"**{loading.where}**\n\n```{loading.language}\n{code}\n```")
    return found


def _images(data: dict[str, Any]) -> str:
    seen = data.get("calibrated_on")
    known = "it isn't known how many of them" if seen is None else f"{seen} of them"
    told = (
        f"Measured on {data['images']:,} images, split {data.get('split')}; {known} calibrated on."
    )
    return " ".join([told, *(f"Mind: {plain(text)}." for text in data_warnings(data))])


def _purpose(task: str) -> str:
    return {"classification": "to tell what a picture shows", "segmentation": "to tell what "
            "is where in a picture"}.get(task, task)  # fmt: skip


def _classes(bundle: Bundle) -> str:
    names = [plain(name) for name in bundle.label_names]
    shown_names = ", ".join(names[:20])
    return shown_names if len(names) <= 20 else f"{shown_names}, and {len(names) - 20} more"


def _origin(bundle: Bundle) -> str:
    manifest, said = bundle.manifest, _said(bundle)
    rows = [["checkpoint", f"`{manifest.checkpoint.file}`"]]
    rows += [[key, plain(text)] for key, text in said.items()]
    rows.append(["ranges", f"{manifest.calibration.images} images"])
    rows += [[plain(name), plain(version)] for name, version in manifest.tools.items()]
    return table(["", ""], rows, frozenset())
