"""What is to be known of a family of networks, as one record; every family's file makes one.

Imports no framework: names and records are there before torch is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from mobilemod.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from mobilemod.data.preprocess import Preprocess
    from mobilemod.forms.mobile import MobileForm
    from mobilemod.forms.mobile_ops import FormOptions
STEP = 32  # pixels: five halvings


def check_size(size: int, step: int = STEP) -> None:
    """`UserError` for an image size in pixels that is no multiple of `step`."""
    if size < step or size % step:
        raise UserError(f"image size {size}: must be a multiple of {step}, at least {step}")


class Variant(Protocol):
    """One network of a family: a frozen dataclass of the family's own file."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class Bundled:
    """A checkpoint that comes with the project: its file in `mobilemod/assets`, whose it is.

    license: an SPDX identifier.
    """

    file: str
    author: str
    license: str


@dataclass(frozen=True)
class Family:
    """How the networks of one family come to be, and how they get to phones.

    title: the family's name, for people. task: what its networks are for, of `mobilemod.tasks`.
    variant: the class of its variants.
    build: (variant, number of classes, stochastic depth's rate) -> the network, with start values.
        Its class stands in the family's file; it maps float (B, 3, H, W), normalized, to logits
        (B, classes) and has the attributes `variant` and `num_classes`.
    preprocess: how the published network's accuracy is measured. step: image sizes are multiples
        of it, pixels.
    mobile: (network, options) -> the same function in mobile form; None where there is none.
    size_of: for networks that fit one size of images, in pixels, which their variants have as
        `size`: a checkpoint's tensors by `build`'s names -> that size, None where they don't tell.

    Checkpoints. head: the linear layer whose rows are the classes; in the mobile form its output is
    the tap `output`. names: pattern of what the
    network's own parameter names begin with, which tells prefixes of tools from them; "" is any
    first part of its names. adapt: the tensors of a checkpoint by the names that `build` gives
    them, for files in which they are called otherwise. unread: the last part of a name that
    `adapt` leaves out where the network does what it says -> why it can't be taken otherwise.
    published_key: where published files hold the weights that were measured, taken before
    averages; "" for averages first. labels: class ids in output order, where its weights' classes
    aren't told by the checkpoint. source: where published weights come from, for people.
    bundled: variant's name -> the checkpoint that comes with the project.

    Training from scratch. start: (network, layer scales' start value), sets what starts otherwise
    than weights of variance 1/fan-in and biases of 0.
    """

    title: str
    variant: type
    build: Callable[[Any, int, float], nn.Module]
    preprocess: Preprocess
    mobile: Callable[[Any, FormOptions], MobileForm] | None = None
    size_of: Callable[[Mapping[str, Any]], int | None] = lambda tensors: None
    step: int = STEP
    task: str = "classification"
    head: str = "head"
    names: str = ""
    adapt: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    unread: Mapping[str, str] = field(default_factory=dict)
    published_key: str = ""
    labels: tuple[str, ...] = ()
    source: str = ""
    bundled: Mapping[str, Bundled] = field(default_factory=dict)
    start: Callable[[nn.Module, float], None] = lambda model, scale: None

    @property
    def output(self) -> str:
        """The tensor of the mobile form that holds the network's output."""
        return f"{self.head}:out"
