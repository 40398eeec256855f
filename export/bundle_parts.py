"""What is read out of a bundle beside its model files, each checked against the manifest."""

from __future__ import annotations

import functools
import json
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from export.quiet import quiet
from export.tables import load_table, table_forms
from export.targets.base import FORMS, Runner
from export.targets.target import get_target
from mobilemod.data.imagefolder import FileContent
from mobilemod.errors import UserError
from mobilemod.forms.canonical import Canonical
from mobilemod.forms.form import Form
from mobilemod.forms.mobile_ops import PLAIN_FORM
from mobilemod.manifest import Bundle, load_bundle, require_same
from mobilemod.manifest_schema import ModelFile
from quantization.calibration import Calibration, load_calibration, weights_digest
from quantization.params import ParameterTable
from quantization.prepare.prepared import (
    CALIBRATION_FILE,
    WEIGHTS_FILE,
    load_prepared,
    read_weights,
)
from quantization.program import quantize
from quantization.recipe import Recipe, load_recipe

REFERENCE_FILE = "reference.safetensors"
RECIPE_FILE = "recipe.json"
FORM_FILE = "form.json"


class OpenedBundle:
    """A bundle with its parts, each read when it is first asked for, and once.

    Each raises `UserError` where its file isn't the manifest's, is missing or damaged. Who changes
    a network copies it before.
    """

    def __init__(self, bundle: Bundle):
        self.bundle = bundle
        self._tables: dict[str, ParameterTable] = {}

    @cached_property
    def canonical(self) -> Canonical:
        """The canonical form of the float network that drops are measured against.

        Raises `UserError` where its files hold other weights than the manifest says.
        """
        if FORM_FILE not in self.bundle.hashes:
            raise UserError(
                f"{self.bundle.folder} holds no {FORM_FILE}: an older version of mobilemod wrote "
                "it; export again"
            )
        path = self.bundle.file(REFERENCE_FILE)
        state = read_weights(path)[0]
        if weights_digest(state) != self.bundle.manifest.checkpoint.weights:
            raise UserError(
                f"{path} is not the network of its manifest (weights differ); export again"
            )
        path = self.bundle.file(FORM_FILE)
        try:
            return Canonical.from_dict(json.loads(path.read_text("utf-8")), state)
        except (ValueError, AttributeError, UserError) as error:
            raise UserError(f"{path} is damaged ({error}); export again") from None

    @cached_property
    def reference(self) -> Form:
        """The float network that drops are measured against, in eval mode."""
        return self.canonical.form(PLAIN_FORM)

    @cached_property
    def quantized_canonical(self) -> Canonical:
        """The canonical form that the parameter tables belong to, unquantized.

        The reference with its weights prepared for quantization; the reference itself where
        nothing was to prepare.
        """
        if WEIGHTS_FILE not in self.bundle.hashes:
            return self.canonical
        manifest = self.bundle.manifest
        path = self.bundle.file(WEIGHTS_FILE)
        self.bundle.file(CALIBRATION_FILE)
        prepared = load_prepared(self.bundle.folder)
        if prepared.reference != manifest.checkpoint.weights:
            raise UserError(f"{path} was prepared from other weights than {REFERENCE_FILE}'s")
        return self.canonical.with_state(prepared.state)

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe of the int8 files."""
        return load_recipe(str(self.bundle.file(self.bundle.manifest.recipe.file)))

    @cached_property
    def calibration(self) -> Calibration:
        """The ranges that the tables were made of."""
        return load_calibration(self.bundle.file(CALIBRATION_FILE))

    @property
    def calibrated_on(self) -> tuple[FileContent, ...]:
        """The images that the ranges were observed on; () where they aren't known."""
        return self.calibration.files if CALIBRATION_FILE in self.bundle.hashes else ()

    @property
    def forms(self) -> list[str]:
        """The forms that there is a parameter table of."""
        return table_forms(self.bundle)

    def table(self, form: str) -> ParameterTable:
        """The parameter table of a form."""
        if form not in self._tables:
            self._tables[form] = load_table(self.bundle, form)
        return self._tables[form]

    def mobile(self, form: str, quantized: bool) -> Form:
        """A mobile form in float: of the network whose weights are quantized, or the reference."""
        return (self.quantized_canonical if quantized else self.canonical).form(FORMS[form])

    def program(self, form: str) -> nn.Module:
        """The quantized program of a form, constants folded, as the int8 files compute."""
        return quantize(self.mobile(form, True), self.table(form), True)


RUNNING = "running"  # the part of a target that runs its files


def running_files(bundle: Bundle, say: bool = True) -> list[ModelFile]:
    """The model files that run on this machine; say: a line on standard error for each other."""
    found = []
    for entry in bundle.manifest.files:
        target = get_target(entry.target)
        if target.has(RUNNING):
            found.append(entry)
        elif say:
            print(f"{entry.file}: left out: {target.facts.lacks[RUNNING]}", file=sys.stderr)
    return found


def load_runner(
    bundle: Bundle, entry: ModelFile, threads: int = 1, runtime: str | None = None
) -> Runner:
    """What runs a model file, which is checked before it is loaded and after.

    runtime: another one than its target's own, by package. Raises `UserError` for a file that isn't
    the manifest's, that its runtime refuses, or that nothing here runs.
    """
    path, target = bundle.file(entry.file), get_target(entry.target)
    with quiet():
        runner = target.load_in(runtime, path, threads) if runtime else target.load(path, threads)
    # Looked at again: it may have been replaced while it was loaded.
    bundle.file(entry.file)
    return runner


@dataclass(frozen=True)
class BundleKey:
    """Which bundle a worker opens: nothing of another one may get into the same measurement."""

    folder: Path
    identity: str

    @classmethod
    def of(cls, bundle: Bundle) -> BundleKey:
        """That of a loaded bundle."""
        return cls(bundle.folder.resolve(), bundle.identity)


@functools.cache
def open_bundle(key: BundleKey) -> OpenedBundle:
    """Opened once in a process; `UserError` where another bundle lies there."""
    bundle = load_bundle(key.folder, verify=False)
    require_same(bundle, key.identity)
    return OpenedBundle(bundle)
