"""The network of a bundle, whose files' tensors go by their published names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from export.bundle_parts import OpenedBundle
from export.diff.named import NamedTaps, conv_weight, is_int8, name_file, name_program
from export.diff.taps_names import Naming, NoMatch
from export.diff.taps_program import ProgramTaps
from export.targets.base import Taps
from export.targets.target import target_of_file
from mobilemod.errors import UserError
from mobilemod.manifest import Bundle

# Of the weights' power: int8 rounding leaves 1e-4, weights of another training 1 and more.
MAX_WEIGHT_ERROR = 0.1


class BundleTaps:
    """The network of a bundle, which opens its files and its programs with their tensors named."""

    def __init__(self, bundle: Bundle):
        self.bundle, self.opened = bundle, OpenedBundle(bundle)
        self.recorded: dict[tuple[str, bool], ProgramTaps] = {}

    def file(self, path: Path) -> NamedTaps:
        """A model file of this network. Raises `UserError` where it is damaged, or another's."""
        if not path.exists():
            raise UserError(f"no such model file: {path}")
        target = target_of_file(path)
        taps = target.open_taps(path)
        shape, taken = taps.graph.tensors[taps.graph.inputs[0]].shape, self.bundle.preprocess
        if tuple(shape) not in ((1, *taken.shape), (1, *taken.sides, 3)):
            raise UserError(
                f"{path}: takes {shape}, the images of {self.bundle.folder} are "
                f"{taken.pixels_text} pixels"
            )
        form = target.facts.form
        program = self._record(form, is_int8(taps.graph))
        try:
            named = name_file(path.name, form, taps, program)
        except NoMatch as error:
            raise UserError(
                f"{path}: its tensors can't be named, it isn't a file of the "
                f"{self.bundle.manifest.model} in {self.bundle.folder}: {error}"
            ) from None
        self._check_weights(path, taps, program, named.naming)
        return named

    def program(self, form: str, int8: bool) -> NamedTaps:
        """The quantized program of a form, or the form in float."""
        return name_program(form, self._record(form, int8))

    def _record(self, form: str, int8: bool) -> ProgramTaps:
        if (form, int8) not in self.recorded:
            mobile = self.opened.mobile(form, int8)
            program = self.opened.program(form) if int8 else mobile
            self.recorded[form, int8] = ProgramTaps(program, mobile)
        return self.recorded[form, int8]

    def _check_weights(self, path: Path, taps: Taps, program: ProgramTaps, naming: Naming) -> None:
        """`UserError` where most weights are another network's."""
        own = {node.outputs[0]: node for node in program.graph.nodes}
        errors = []
        for output in program.weights:
            if output in naming.steps:
                weight = conv_weight(program, own[output])
                difference = np.square(conv_weight(taps, naming.steps[output]) - weight).sum()
                errors.append(difference / max(np.square(weight).sum(), 1e-30))
        if not np.median(errors) < MAX_WEIGHT_ERROR:
            raise UserError(f"{path}: its weights aren't the network's in {self.bundle.folder}")
