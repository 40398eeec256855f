"""The keys of a validation record and their types, and the check of a record against them."""

from __future__ import annotations

import math
from typing import Any

from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import ROLES

SCHEMA_VERSION = "mobilemod/validation/1"


class _Optional:
    """A value that may be null."""

    def __init__(self, spec: Any) -> None:
        self.spec = spec


class _Newer(_Optional):
    """A key that older records lack."""


_NUMBER = (int, float)
_DROP = {
    "points": _NUMBER,
    "low": _NUMBER,
    "high": _NUMBER,
    "mcnemar_p": _NUMBER,
    "lost": int,
    "won": int,
}
_PREDICTION = {
    "name": str,
    "role": str,
    "file": _Optional(str),
    "runner": _Optional(str),
    "bytes": _Optional(int),
    "top1_percent": _NUMBER,
    "top5_percent": _NUMBER,
    "non_finite": int,
    "drop": _Optional(_DROP),
}
_PAIR = {
    "reference": str,
    "other": str,
    "top1_percent": _NUMBER,
    "sqnr_db": _Optional(_NUMBER),
    "identical": bool,
}
_CLASS = {"class": int, "label": str, "images": int, "top1_percent": [_NUMBER]}
_DISAGREEMENT = {"index": int, "image": str, "target": int, "top1": [int], "margin": [_NUMBER]}
_WORST = {
    "name": str,
    "images": [{"index": int, "image": str, "target": int, "rms_error": _Optional(_NUMBER)}],
}
_VERDICT = {
    "name": str,
    "passed": bool,
    "state": str,
    "line": str,
    "kind": str,
    "value": _Optional(_NUMBER),
    "limit": _Optional(_NUMBER),
    "reason": _Optional(str),
    "images_needed": _Optional(int),
}
_RECORD = {
    "schema": str,
    "measured": bool,
    "bundle": dict,
    "data": {
        "images": int,
        "labels": [str],
        "damaged": [str],
        "reasons": _Newer([str]),
        "left_out": _Newer(dict),
        "folder": _Newer(str),
        "split": _Newer(str),
        "calibrated_on": _Newer(_Optional(int)),
    },
    "predictions": [_PREDICTION],
    "agreement": [_PAIR],
    "per_class": [_CLASS],
    "disagreements": [_DISAGREEMENT],
    "worst_images": [_WORST],
    "audits": dict,
    "verdicts": _Optional([_VERDICT]),
}


def validate_record(record: Any) -> None:
    """Raise UserError naming the first key that is missing, unknown, or of a wrong value."""
    if isinstance(record, dict) and record.get("schema", SCHEMA_VERSION) != SCHEMA_VERSION:
        raise UserError(
            f"schema: {record['schema']!r}, this version reads {SCHEMA_VERSION!r}; validate again"
        )
    _check(record, _RECORD, "")
    names = [p["name"] for p in record["predictions"]]
    images, classes = record["data"]["images"], len(record["data"]["labels"])
    if record["measured"] != bool(names):
        _fail("measured", "true exactly where there are predictions")
    for i, p in enumerate(record["predictions"]):
        at = f"predictions[{i}]"
        if p["role"] not in ROLES:
            _fail(f"{at}.role", f"one of {', '.join(ROLES)}, not {p['role']!r}")
        if p["name"] in names[:i]:
            _fail(f"{at}.name", f"unique, {p['name']!r} comes twice")
        for key in ("top1_percent", "top5_percent"):
            if not 0 <= p[key] <= 100:
                _fail(f"{at}.{key}", f"between 0 and 100, not {p[key]}")
    for i, pair in enumerate(record["agreement"]):
        for key in ("reference", "other"):
            if pair[key] not in names:
                _fail(f"agreement[{i}].{key}", f"a prediction's name, not {pair[key]!r}")
    for key in ("per_class", "disagreements"):
        for i, row in enumerate(record[key]):
            for column in ("top1_percent",) if key == "per_class" else ("top1", "margin"):
                if len(row[column]) != len(names):
                    _fail(f"{key}[{i}].{column}", f"{len(names)} long, one per prediction")
    shown = [(f"disagreements[{i}]", row) for i, row in enumerate(record["disagreements"])]
    for i, worst in enumerate(record["worst_images"]):
        shown += [(f"worst_images[{i}].images[{j}]", row) for j, row in enumerate(worst["images"])]
    for at, row in shown:
        if not 0 <= row["index"] < images:
            _fail(f"{at}.index", f"one of {images} images, not {row['index']}")
        if not 0 <= row["target"] < classes:
            _fail(f"{at}.target", f"one of {classes} classes, not {row['target']}")
        if any(not -1 <= c < classes for c in row.get("top1", [])):
            _fail(f"{at}.top1", f"each one of {classes} classes, or -1")


def _fail(path: str, expected: str) -> None:
    raise UserError(f"validation record: {path or 'the record'} must be {expected}")


def _check(value: Any, spec: Any, path: str) -> None:
    if isinstance(spec, _Optional):
        if value is not None:
            _check(value, spec.spec, path)
    elif isinstance(spec, list):
        if not isinstance(value, list):
            _fail(path, f"a list, not {type(value).__name__}")
        for i, item in enumerate(value):
            _check(item, spec[0], f"{path}[{i}]")
    elif isinstance(spec, dict):
        if not isinstance(value, dict):
            _fail(path, f"an object, not {type(value).__name__}")
        prefix = f"{path}." if path else ""
        for key, part in spec.items():
            if key not in value:
                if isinstance(part, _Newer):
                    continue
                raise UserError(f"validation record: {prefix}{key} is missing")
            _check(value[key], part, prefix + key)
        unknown = next((k for k in value if k not in spec), None)
        if unknown is not None:
            raise UserError(
                f"validation record: {prefix}{unknown} is not a key of {SCHEMA_VERSION}"
            )
    else:
        kinds = spec if isinstance(spec, tuple) else (spec,)
        wanted = "number" if spec is _NUMBER else spec.__name__
        # bool is an int to Python, not to JSON.
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            _fail(path, f"{wanted}, not {type(value).__name__}")
        if isinstance(value, float) and not math.isfinite(value):
            _fail(path, f"a finite number, not {value}")
