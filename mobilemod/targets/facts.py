"""What is known of a runtime without importing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Facts:
    """One runtime.

    place: where its files stand among those of a bundle, the least first. suffix: of its files;
    relatives: of files of its family that nothing here reads. form: the mobile form that it is
    lowered from; fold: whether int8 weights are folded into their codes before. twin: the
    precision of its float file. searched_first: whether a search for a recipe takes it where a
    bundle holds several. packages: what writes its files; not every machine has a build of
    them. installed_by: the command that installs them, "" where they come with the environment;
    else the target is lowered to only where it is asked for, as with on_request. lacks: part of
    `export.targets.target.Target` that it doesn't have -> what a user is told. holds: the targets
    whose parts its files are made of.

    Of its files: channels_last: tensors of images are (1, H, W, C), weights (out, H, W, in).
    named: our tensors are called `module:role`. explicit_int8: an int8 op is written as dequantize,
    op, quantize. dynamic_int8: kernels of float data and int8 weights quantize the data while they
    run. int8_tables: float ops between int8 codes run as one look-up table. int16: 16-bit whole
    numbers are codes of activations. arithmetic: how it computes, in
    words that follow a file's name.
    """

    name: str
    suffix: str
    place: int
    form: str
    twin: str
    packages: tuple[str, ...]
    arithmetic: str
    installed_by: str = ""
    fold: bool = True
    relatives: tuple[str, ...] = ()
    lacks: Mapping[str, str] = field(default_factory=dict)
    channels_last: bool = False
    named: bool = False
    explicit_int8: bool = False
    dynamic_int8: bool = False
    int8_tables: bool = False
    int16: bool = False
    searched_first: bool = False
    on_request: bool = False
    holds: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """What its module here and its folder in `export.targets` are called."""
        return self.name.replace(":", "_")
