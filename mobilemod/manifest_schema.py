"""The schema of `manifest.json`: every value that a bundle is read by, and what it may be.

Unknown keys are let through, as the apps do; under `preprocess` they would change the input, so
there both refuse them.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from mobilemod.data.preprocess import FITS
from mobilemod.errors import UserError
from mobilemod.evaluation.runs import ANSWERS, MOST_CLASSES, SCORES, checked_map
from mobilemod.harness.protocol.values import check_path
from mobilemod.ranges import SIDE
from mobilemod.targets import TARGETS
from mobilemod.tasks import DEFAULT

SCHEMA = "mobilemod/manifest/1"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
PLAIN_KEY = re.compile(r"[A-Za-z0-9_.-]{1,60}\Z")


def _printable(text: str) -> str:
    if CONTROL.search(text):
        raise ValueError("must hold no control characters")
    return text


def _inside(path: str) -> str:
    try:
        check_path(path)
    except UserError:
        raise ValueError(
            "must be a path inside the bundle, of letters, digits, '.', '_' and '-'"
        ) from None
    if path.casefold() == "manifest.json":
        raise ValueError("must not be the manifest itself")
    return path


def _one_or_two(size: Any, inner: ValidatorFunctionWrapHandler) -> Any:
    try:
        return inner(size)
    except ValidationError:
        raise ValueError(f"must be {SIDE}, or [height, width] of such") from None


Text = Annotated[str, StringConstraints(min_length=1, max_length=4096), AfterValidator(_printable)]
InBundle = Annotated[str, StringConstraints(max_length=1024), AfterValidator(_inside)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=2**53)]
Counts = dict[str, Count]
Share = Annotated[float, Field(ge=0, le=1)]
Logits = Annotated[list[float], FailFast()]
Runs = Annotated[list[Annotated[int, Field(ge=0, le=2**31)]], FailFast()]
Mean = Annotated[float, Field(ge=-1000, le=1000)]
Std = Annotated[float, Field(ge=1e-6, le=1e6)]
Side = Annotated[int, Field(ge=SIDE.low, le=SIDE.high)]
MapSide = Annotated[int, Field(ge=1, le=SIDE.high)]
Sides = Annotated[list[Side], Field(min_length=2, max_length=2)]


M = TypeVar("M", bound=BaseModel)


class Open(BaseModel):
    """An object with these keys and maybe others, no value of another type, no NaN."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, frozen=True)


class Closed(Open):
    """The same with no other key."""

    model_config = ConfigDict(extra="forbid")


class Hashed(Open):
    """A file, or all files of a package: `sha256` as of `file_sha256`, `bytes` in all."""

    sha256: Sha256
    bytes: Count


class Part(Hashed):
    """What lies in the bundle beside model files and golden images: weights, tables, labels."""

    file: InBundle


class Outside(Open):
    """What one module has outside every delegate, and between how many partitions it comes."""

    ops: Counts
    cuts: Count


class Audit(Open):
    """What `inspect` counted in a model file when it was exported."""

    macs: Count
    int8_macs: Count
    int8_share: Share
    mean_macs: Count = 0
    matmul_macs: Count
    int8_matmul_macs: Count
    partitions: Count | None
    outside: Counts
    outside_modules: dict[str, Outside] = Field(default_factory=dict)
    quantize_ops: Count
    dequantize_ops: Count
    transposes: Count
    quantized: Counts
    moves: Counts
    float_ops: Counts


class ModelFile(Part):
    """A file that a runtime runs."""

    target: Literal[*TARGETS]
    precision: Literal["int8", "float16", "float32"]
    audit: Audit


class Golden(Hashed):
    """An image of the input's very pixels, and what each file and program answers, by name.

    logits: where outputs are a score for each class; runs: where they are a map of classes, as
    `mobilemod.evaluation.runs` has one.
    """

    image: InBundle
    origin: Text
    target: Count | None
    logits: dict[str, Logits] = Field(default_factory=dict)
    runs: dict[str, Runs] = Field(default_factory=dict)


class Label(Open):
    """A class: the name of its folder, and its name for people."""

    id: Text
    label: Text


class Preprocess(Closed):
    """As of `mobilemod.data.preprocess.Preprocess`. size: a square's side, or [height, width]. A
    reader that knows neither that nor `fit` refuses both, so that no other schema is needed."""

    size: Annotated[Side | Sides, WrapValidator(_one_or_two)]
    crop_fraction: Annotated[float, Field(ge=0.05, le=1)]
    interpolation: Literal["nearest", "bilinear", "bicubic"]
    mean: Annotated[list[Mean], Field(min_length=3, max_length=3)]
    std: Annotated[list[Std], Field(min_length=3, max_length=3)]
    color: Literal["RGB"]
    layout: Literal["NCHW"]
    fit: Literal[*FITS] = "crop"


class RecipeEntry(Open):
    """The recipe of the int8 files."""

    name: Text
    file: InBundle


class Checkpoint(Open):
    """What was exported. weights: the digest of the float network's weights."""

    file: Text
    sha256: Sha256
    weights: Sha256


class CalibrationEntry(Open):
    """Where ranges came from. weights: the digest of the weights that were quantized."""

    origin: Text
    images: Count
    sha256: Text
    weights: Sha256


class Manifest(Open):
    """The whole. map: height and width of the map where the files make one; None where their
    outputs are scores for each class. answer: what they give of a map, scores for each class at
    each pixel, or classes, the map itself in uint8."""

    schema_: Literal[SCHEMA] = Field(alias="schema")
    model: Annotated[Text, StringConstraints(max_length=200)]
    task: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,59}$")] = DEFAULT
    num_classes: Annotated[int, Field(ge=1, le=100_000)]
    map: Annotated[list[MapSide], Field(min_length=2, max_length=2)] | None = None
    answer: Literal[*ANSWERS] = SCORES
    labels: Annotated[list[Label], FailFast()]
    preprocess: Preprocess
    recipe: RecipeEntry
    checkpoint: Checkpoint
    calibration: CalibrationEntry
    tools: dict[str, Text]
    files: Annotated[list[ModelFile], FailFast()]
    golden: Annotated[list[Golden], FailFast()]
    parts: Annotated[list[Part], FailFast()]
    accuracy: dict[str, Any] | None

    @model_validator(mode="after")
    def _fits(self) -> Manifest:
        classes = self.num_classes
        if len(self.labels) != classes:
            raise ValueError(f"labels: {len(self.labels)} for {classes} classes")
        if self.map is not None and classes > MOST_CLASSES:
            raise ValueError(f"num_classes: at most {MOST_CLASSES} in maps, not {classes}")
        if self.map is None and self.answer != SCORES:
            raise ValueError(f"answer: {self.answer} without a map")
        _unique("labels", (label.id for label in self.labels))
        paths = [g.image for g in self.golden]
        paths += [part.file for part in (*self.files, *self.parts)]
        _unique("files, golden and parts", (path.casefold() for path in paths))
        for i, golden in enumerate(self.golden):
            where, answers = f"golden[{i}].{self.answer_key}", self.answers(golden)
            for name, answer in answers.items():
                if (wrong := self._wrong_answer(answer)) is not None:
                    raise ValueError(f"{where}{_step(name)}: {wrong}")
            unknown = [f.file for f in self.files if f.file not in answers]
            if unknown:
                raise ValueError(f"{where}: lacks those of {unknown[0]}")
            if golden.target is not None and golden.target >= classes:
                raise ValueError(f"golden[{i}].target: {golden.target} of {classes} classes")
        return self

    @property
    def answer_key(self) -> str:
        """The key of a golden image's answers."""
        return "logits" if self.map is None else "runs"

    def answers(self, golden: Golden) -> dict[str, list[float]] | dict[str, list[int]]:
        """What each file and program answers on a golden image, by name."""
        return golden.logits if self.map is None else golden.runs

    def _wrong_answer(self, answer: list[Any]) -> str | None:
        if self.map is None:
            wrong = len(answer) != self.num_classes
            return f"{len(answer)} values for {self.num_classes} classes" if wrong else None
        try:
            checked_map(answer, self.map[0] * self.map[1], self.num_classes)
        except ValueError as error:
            return str(error)
        return None


def _unique(where: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{where}: {reprlib.repr(name)} stands there twice")
        seen.add(name)


def checked(model: type[M], values: Any, where: str, mend: str) -> M:
    """The values, typed; `UserError`, one line with the path of the first field that is wrong."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{where}: {first_error(error)}; {mend}") from None


def check_labels(labels: Iterable[dict[str, str]]) -> None:
    """Raises `UserError` for a class whose name no manifest can hold, or that is there twice."""
    try:
        found = TypeAdapter(list[Label]).validate_python(list(labels))
        _unique("labels", (label.id for label in found))
    except ValidationError as error:
        raise UserError(f"labels{first_error(error)}; rename the class") from None
    except ValueError as error:
        raise UserError(f"{error}; rename the class") from None


def first_error(error: ValidationError) -> str:
    """What is wrong first, with its path, in a line."""
    found = error.errors(include_url=False, include_context=False)[0]
    where = "".join(map(_step, found["loc"])).removeprefix(".")
    text = found["msg"].removeprefix("Value error, ")
    if found["type"] == "missing":
        return f"{where} is missing"
    if found["type"] == "extra_forbidden":
        return f"{where} is not a key of it"
    if not where:
        return text
    return f"{where}: {text[0].lower()}{text[1:]}, not {reprlib.repr(found['input'])}"


def _step(key: int | str) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key}" if PLAIN_KEY.match(key) else f"[{reprlib.repr(key)}]"
