"""The quantization recipe: an ordered list of rules over roles and names of tensors, saved beside
the model. Roles are in `mobilemod.forms.naming`; they mean the same in every network."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Any

from mobilemod.errors import UserError, meant, unknown
from mobilemod.targets import TARGETS
from quantization.observers import OBSERVERS

SCHEMA = "mobilemod/recipe/1"
DTYPES = ("int8", "int16", "float")
ROUNDINGS = ("nearest", "compensated", "learned")
FORMS = tuple(dict.fromkeys(facts.form for facts in TARGETS.values()))


@dataclass(frozen=True)
class Rule:
    """Tensors whose role and name match `role` and `tensors` (shell wildcards) have `dtype`; a
    later rule wins. Weights have 8 bits: int16 at one means beside codes of 16.

    forms: the mobile forms it holds for; empty means all. observer: one of `OBSERVERS` for these
    tensors, "" for what was said before. reason: why, for people.
    """

    dtype: str
    tensors: str = "*"
    role: str = "*"
    forms: tuple[str, ...] = ()
    observer: str = ""
    reason: str = ""

    def matches(self, tensor: str, form: str, role: str = "") -> bool:
        """Whether this rule speaks of `tensor`, of `role`, in `form`."""
        here = not self.forms or form in self.forms
        return here and fnmatchcase(tensor, self.tensors) and fnmatchcase(role, self.role)


@dataclass(frozen=True)
class Recipe:
    """What is int8, what stays float, and how ranges are chosen.

    observer: one of `OBSERVERS`. clipping_check: take the whole range where the observer's harms
        the network's output. equalization: bring channels to like ranges by exact rewrites.
    bias_correction: put the mean error of each channel into the bias. rounding: of weights, one
        of `ROUNDINGS`.
    min_int8_share: the part of convolution and linear multiply-accumulates that must be int8 in a
        file made by this recipe, 0..1; an export that falls below it fails.
    """

    name: str
    rules: tuple[Rule, ...]
    observer: str = "mse"
    clipping_check: bool = True
    equalization: bool = True
    bias_correction: bool = True
    rounding: str = "nearest"
    calibration_images: int = 256
    min_int8_share: float = 0.99
    description: str = ""

    def dtype(self, tensor: str, form: str, role: str = "") -> str:
        """One of `DTYPES` for a tensor; float where no rule speaks of it."""
        found = (r.dtype for r in reversed(self.rules) if r.matches(tensor, form, role))
        return next(found, "float")

    def reason(self, tensor: str, form: str, role: str = "") -> str:
        """Why a tensor has its dtype, as the rule that decides says; "" where none does."""
        found = (r.reason for r in reversed(self.rules) if r.matches(tensor, form, role))
        return next(found, "no rule of the recipe speaks of it")

    def observer_of(self, tensor: str, form: str, role: str = "") -> str:
        """The observer that gives a tensor its range; 16 bits needn't leave out any values."""
        rules = (r for r in reversed(self.rules) if r.observer and r.matches(tensor, form, role))
        whole = self.dtype(tensor, form, role) == "int16"
        return next((r.observer for r in rules), "minmax" if whole else self.observer)

    @property
    def wide(self) -> bool:
        """Whether any rule gives 16 bits."""
        return any(rule.dtype == "int16" for rule in self.rules)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return {"schema": SCHEMA, **dataclasses.asdict(self)}


def parse_recipe(values: Any, where: str) -> Recipe:
    """A recipe from `to_dict`'s form; a misspelled key or value is a `UserError` naming it."""
    values = _checked(values, Recipe, where, extra={"schema"})
    if values.pop("schema", SCHEMA) != SCHEMA:
        raise UserError(f"{where}: schema is not {SCHEMA!r}")
    if not isinstance(values.get("rules"), list) or not values["rules"]:
        raise UserError(f"{where}: 'rules' must be a list of at least one rule")
    rules = []
    for i, entry in enumerate(values["rules"]):
        place = f"{where}: rule {i + 1}"
        entry = _checked(entry, Rule, place)
        _one_of(entry.get("dtype"), DTYPES, "dtype", place)
        if not {"tensors", "role"} & entry.keys():
            raise UserError(f"{place}: missing key 'tensors' or 'role': which ones it speaks of")
        for key in ("tensors", "role"):
            if not isinstance(entry.get(key, "*"), str):
                raise UserError(f"{place}: {key!r} must be a name pattern")
        forms = tuple(entry.get("forms", ()))
        for form in forms:
            _one_of(form, FORMS, "form", place)
        if entry.get("observer"):
            _one_of(entry["observer"], tuple(OBSERVERS), "observer", place)
        rules.append(Rule(**{**entry, "forms": forms}))
    recipe = Recipe(**{**values, "rules": tuple(rules)})
    _one_of(recipe.observer, tuple(OBSERVERS), "observer", where)
    _one_of(recipe.rounding, ROUNDINGS, "rounding", where)
    for switch in ("clipping_check", "equalization", "bias_correction"):
        if not isinstance(getattr(recipe, switch), bool):
            raise UserError(f"{where}: {switch} must be true or false")
    if not isinstance(recipe.calibration_images, int) or recipe.calibration_images < 1:
        raise UserError(f"{where}: calibration_images must be a positive whole number")
    share = recipe.min_int8_share
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise UserError(f"{where}: min_int8_share must be a number from 0 to 1")
    return recipe


def load_recipe(name_or_path: str) -> Recipe:
    """A recipe that comes with the project, by name, or one from a JSON file."""
    bundled = bundled_recipes()
    if name_or_path in bundled:
        text = bundled[name_or_path]
    else:
        path = Path(name_or_path)
        if not path.is_file():
            raise UserError(
                f"no recipe {name_or_path!r}: no such file, nor one of {', '.join(sorted(bundled))}"
                f"{meant(name_or_path, bundled)}"
            )
        text = path.read_text("utf-8", errors="replace")
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"recipe {name_or_path}: not JSON, {error}") from None
    return parse_recipe(values, f"recipe {name_or_path}")


def bundled_recipes() -> dict[str, str]:
    """Name -> JSON text of the recipes that come with the project."""
    folder = resources.files("quantization").joinpath("recipes")
    files = [f for f in folder.iterdir() if f.name.endswith(".json")]
    return {f.name.removesuffix(".json"): f.read_text("utf-8") for f in files}


def _one_of(value: Any, known: tuple[str, ...], what: str, where: str) -> None:
    if value not in known:
        raise UserError(f"{where}: {what} {value!r} is not one of {known}")


def _checked(values: Any, cls: type, where: str, extra: set[str] = frozenset()) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected an object of keys and values")
    fields = dataclasses.fields(cls)
    known = {f.name for f in fields} | extra
    for key in values:
        if key not in known:
            raise UserError(f"{where}: {unknown('key', key, sorted(known))}")
    for f in fields:
        if f.default is dataclasses.MISSING and f.name not in values:
            raise UserError(f"{where}: missing key {f.name!r}")
    return dict(values)
