"""What is known of a runtime without importing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Dimensions of an output that is maps, (1, K, h, w) or (1, h, w, K); numbers may have as many.
MAPS = 4
# Where a file is shipped to, in the order in which advice lists it: name -> in words.
PLACES = {
    "ios27": "iPhone, iOS 27 and later",
    "ios17": "iPhone, iOS 17 to 26",
    "ios-older": "iPhone, before iOS 17",
    "android-npu": "Android, a chip whose NPU's compiler you have",
    "android-dot": "Android, processors with int8 dot products (from Cortex-A55, A75 of 2017)",
    "android-old": "Android, processors without (Cortex-A53, A57, A72, A73)",
    "web": "web, WebAssembly",
    "x86-vnni": "desktop or server, x86 with VNNI",
    "x86": "desktop or server, x86 without VNNI",
}


@dataclass(frozen=True)
class Use:
    """That a target's files serve at a place of `PLACES`.

    rank: 1 is the first choice there. int8: else the float twin. recipe: the int8 file's, by which
    it is fastest there. engine: what runs it there.
    why: with the figures that speak for it; ran: whether that engine was run on such a machine, or
    what stood in for it.
    """

    place: str
    rank: int
    engine: str
    why: str
    ran: str
    int8: bool = True
    recipe: str = "cpu"


@dataclass(frozen=True)
class Loading:
    """The lines that load and run a file. where: in words. language: of code blocks. code: `{file}`
    stands for the file's name, `{{` and `}}` for braces."""

    where: str
    language: str
    code: str


@dataclass(frozen=True)
class Environment:
    """A Python environment of its own, for packages that can't stand beside this kit's.

    package: the one that it is for; python: the version of Python that it has builds for. folder:
    where it is set up, variable: the environment variable that names another one. installed_by: the
    command that sets it up. code: the package in `export.targets` that speaks with it, and holds
    its requirements.txt.
    """

    package: str
    python: str
    folder: str
    variable: str
    installed_by: str
    code: str


@dataclass(frozen=True)
class Facts:
    """One runtime.

    place: where its files stand among those of a bundle, the least first. suffix: of its files;
    relatives: of files of its family that nothing here reads. form: the mobile form that it is
    lowered from; fold: whether int8 weights are folded into their codes before. twin: the
    precision of its float file; more_floats: those of further ones; half_arithmetic: how a further
    float16 file computes that is lowered from a network in float16, in words that follow a file's
    name, "" where none is. searched_first: whether a search for a recipe takes it where a bundle
    holds several. packages: what writes its files; not every machine has a build of them.
    installed_by: the command that installs them, "" where they come with the environment;
    else the target is lowered to only where it is asked for, as with on_request. lacks: part of
    `export.targets.target.Target` that it doesn't have -> what a user is told. holds: the targets
    whose parts its files are made of. uses: where its files are shipped to. environment: what its
    files are written in, None for this one. own_ranges: its int8 file's scales aren't the table's:
    what writes it observes its own, on the images that the table was made of. runtimes: what else
    runs its files on this machine. stand_in: what runs them here where that isn't the runtime of
    phones, as a sentence. loading: how an app loads and runs its files.

    Of its files: channels_last: tensors of images are (1, H, W, C), weights (out, H, W, in).
    named: our tensors are called `module:role`. explicit_int8: an int8 op is written as dequantize,
    op, quantize. float16_scales: scales are stored as float16. dynamic_int8: kernels of float data
    and int8 weights quantize the data while they run. int8_tables: float ops between int8 codes run
    as one look-up table. int16: 16-bit whole numbers are codes of activations. npu: the compilers
    of phones' NPUs take them. explorer: Model Explorer shows them, ops by their tensors' names.
    answers: what those of a network of maps may give, of `mobilemod.evaluation.runs`. untaken: op
    that the delegate has no kernel of -> why, for people.
    arithmetic: how it computes, in words that follow a file's name.
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
    uses: tuple[Use, ...] = ()
    channels_last: bool = False
    named: bool = False
    explicit_int8: bool = False
    float16_scales: bool = False
    dynamic_int8: bool = False
    int8_tables: bool = False
    int16: bool = False
    npu: bool = False
    explorer: bool = False
    answers: tuple[str, ...] = ("scores",)
    untaken: Mapping[str, str] = field(default_factory=dict)
    searched_first: bool = False
    on_request: bool = False
    more_floats: tuple[str, ...] = ()
    half_arithmetic: str = ""
    holds: tuple[str, ...] = ()
    environment: Environment | None = None
    own_ranges: bool = False
    runtimes: tuple[Environment, ...] = ()
    stand_in: str = ""
    loading: tuple[Loading, ...] = ()

    @property
    def runs_here(self) -> bool:
        """Whether its files run on the machine that they are made on, by whatever runs them."""
        return "running" not in self.lacks

    @property
    def folder(self) -> str:
        """What its module here and its folder in `export.targets` are called."""
        return self.name.replace(":", "_")
