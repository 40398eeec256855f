"""The `.mlpackage` against the quantized program, its parameter table and the float form."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from coremltools.proto import Model_pb2
from torch import Tensor, nn

from export.graph import CONV, DEPTHWISE, DEQUANTIZE, MATMUL, QUANTIZE, TRANSPOSE
from export.targets.base import ModelInfo
from export.targets.coreml import check as mil_check
from export.targets.coreml.evaluator import compile_program
from export.targets.coreml.lowering import unique_labels
from export.targets.coreml.reader import MODEL_PATH, WEIGHTS_FOLDER, open_package, quantization
from export.targets.coreml.running import pixels_of
from export.targets.coreml.toolkit import known_ops, model_type
from export.targets.target import get_target
from mobilemod.data.imagefolder import read_folder
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.files import file_sha256
from mobilemod.forms.canonical import canonical_form
from mobilemod.forms.form import Form
from mobilemod.forms.mobile_ops import COREML_FORM, NamedConv2d
from mobilemod.networks.registry import network
from quantization.calibration import Calibration, observe
from quantization.params import ParameterTable
from quantization.program import QuantizedConv2d, make_table, quantize
from quantization.recipe import load_recipe
from tests.parity.label_checks import check_labels
from tests.parity.lazily import Lazily

coreml = get_target("coreml")

SIZE, CLASSES = 64, 10
NPU = pytest.param("npu", marks=pytest.mark.slow)
RECIPES = ("cpu", NPU)
NAMES = (*RECIPES, "float")
# End to end a single flip of rounding spreads, the more the narrower the network: the op by op
# check is the sharp one.
MIN_SQNR = {"cpu": 25.0, "npu": 20.0, "float": 45.0}
MIN_SQNR_XXS = {"cpu": 29.0, "npu": 27.0, "float": 50.0}


@dataclasses.dataclass(frozen=True)
class Lowered:
    """One file with what it was made from."""

    path: Path
    module: nn.Module
    table: ParameterTable | None
    info: ModelInfo


def pictures(count: int, size: int = SIZE, seed: int = 0) -> np.ndarray:
    """Smooth random pictures of 8 bits, normalized float32 (count, 3, size, size)."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.standard_normal((count, 3, 8, 8)).astype(np.float32))
    smooth = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").numpy()
    noise = 0.2 * rng.standard_normal(smooth.shape)
    pixels = np.clip(np.rint((smooth + noise) * 60 + 120), 0, 255).astype(np.uint8)
    return Preprocess(size=size).normalize(np.moveaxis(pixels, 1, -1))


def lower_all(form: Form, info: ModelInfo, images: Tensor, folder: Path) -> Lazily[Lowered]:
    """`made["cpu"]`, `["npu"]`, `["float"]`."""
    calibration = Calibration("w", "i", len(images), observe(form, images.split(4), len(images)))

    def make(name: str) -> Lowered:
        table, module = None, form
        if name != "float":
            table = make_table(form, "coreml", load_recipe(name), calibration)
            module = quantize(form, table, coreml.facts.fold)
        path = folder / f"{name}{coreml.facts.suffix}"
        coreml.lower(module, info, path, int8=table is not None)
        return Lowered(path, module, table, info)

    return Lazily(make)


@pytest.fixture(scope="module")
def lowered(shallow_variant, golden_state, tmp_path_factory) -> dict[str, Lowered]:
    torch.set_num_threads(1)
    state = golden_state(shallow_variant)
    state |= {k: v[:CLASSES] for k, v in state.items() if k.startswith("head.")}
    model = network(shallow_variant, CLASSES, state)
    info = ModelInfo(
        "efficientmod_shallow",
        tuple(f"label {i}" for i in range(CLASSES)),
        Preprocess(size=SIZE),
    )
    form = canonical_form(model, (3, SIZE, SIZE)).form(COREML_FORM)
    folder = tmp_path_factory.mktemp("coreml")
    return lower_all(form, info, torch.from_numpy(pictures(8)), folder)


def program_logits(made: Lowered, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return made.module(torch.from_numpy(x)).numpy()


def halves(scales: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(float(np.float16(s)) for s in scales)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_activation_parameter_is_the_tables(lowered, recipe):
    made = lowered[recipe]
    ops = open_package(made.path).operations
    found = Counter(quantization(op)[:2] for op in ops if op.op_type == "quantize")
    again = Counter(quantization(op)[:2] for op in ops if op.op_type == "dequantize")
    assert found == again
    entries = [e for e in made.table.entries.values() if e.kind == "activation"]
    table = Counter((halves(e.scale), e.zero_point) for e in entries)
    assert not found - table
    # coremltools drops the second of two equal pairs around a reshape: one per moved tensor.
    moved = Counter(
        (halves(e.scale), e.zero_point)
        for e in entries
        if e.tensor.endswith((":matrix", ":moved")) and e.source in made.table.entries
    )
    assert table - found == moved
    assert bool(moved) == (recipe == "npu")


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_weight_has_the_tables_scales_and_the_programs_codes(lowered, recipe):
    made = lowered[recipe]
    ops = open_package(made.path).operations
    constants = [op for op in ops if op.op_type == "constexpr_affine_dequantize"]
    entries = [e for e in made.table.entries.values() if e.kind != "activation"]
    table = Counter((halves(e.scale), e.zero_point) for e in entries)
    assert Counter(quantization(op)[:2] for op in constants) == table
    codes = Counter(np.asarray(op.inputs["quantized_data"].val).tobytes() for op in constants)
    weights = [m for m in made.module.modules() if isinstance(m, QuantizedConv2d)]
    assert weights
    assert not Counter(m.weight.numpy().tobytes() for m in weights) - codes


@pytest.mark.parametrize("name", NAMES)
def test_logits_agree_with_the_program(lowered, name):
    made, x = lowered[name], pictures(6, seed=1)
    y = coreml.load(made.path).run_many(x)
    assert y.shape == (6, CLASSES) and y.dtype == np.float32
    assert sqnr_db(program_logits(made, x), y) >= MIN_SQNR[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_gives_what_single_images_give(lowered, name):
    x = pictures(3, seed=2)
    program = compile_program(open_package(lowered[name].path))
    pixels = torch.from_numpy(pixels_of(x, Preprocess(size=SIZE)))
    runner = coreml.load(lowered[name].path)
    assert "MIL evaluator (not Core ML)" in runner.description
    together = program.run(pixels).numpy()
    single = np.stack([runner.run(image[None]) for image in x])
    # A batch may sum a matrix product in another order: float32, hidden by most roundings.
    assert sqnr_db(single, together) >= (60.0 if name == "float" else 20.0)
    assert np.array_equal(single, runner.run_many(x))


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bytes(lowered, tmp_path, capfd):
    made = lowered["cpu"]
    again = tmp_path / f"again{coreml.facts.suffix}"
    capfd.readouterr()
    coreml.lower(made.module, made.info, again, int8=True)
    assert capfd.readouterr() == ("", "")
    assert file_sha256(again) == file_sha256(made.path)
    assert list(tmp_path.iterdir()) == [again]


def test_xcode_sees_an_image_classifier(lowered):
    made = lowered["cpu"]
    description = open_package(made.path).spec.description
    (image,) = description.input
    assert (image.name, image.type.imageType.width, image.type.imageType.height) == (
        "image",
        SIZE,
        SIZE,
    )
    assert image.type.imageType.colorSpace == image.type.imageType.RGB
    kinds = {o.name: o.type.WhichOneof("Type") for o in description.output}
    assert kinds == {
        "classLabel": "stringType",
        "classLabel_probs": "dictionaryType",
        "logits": "multiArrayType",
    }
    assert description.predictedFeatureName == "classLabel"
    assert description.predictedProbabilitiesName == "classLabel_probs"
    user = description.metadata.userDefined
    assert json.loads(user["labels"]) == list(made.info.labels)
    assert Preprocess.from_dict(json.loads(user["preprocessing"])) == made.info.preprocess
    classify = open_package(made.path).operations[-2:]
    labels = next(op for op in classify if op.op_type == "classify").inputs["classes"].val
    assert [str(s) for s in labels] == list(made.info.labels)


def test_labels(lowered, tmp_path):
    assert unique_labels(("crane", "owl", "crane")) == ["crane (0)", "owl", "crane (2)"]
    made = lowered["float"]
    info = dataclasses.replace(made.info, labels=("one",))
    with pytest.raises(UserError, match="1 labels for 10 classes"):
        coreml.lower(made.module, info, tmp_path / "x.mlpackage", int8=False)
    assert not list(tmp_path.iterdir())


def test_pixels_come_back_exactly():
    preprocess = Preprocess()
    pixels = np.tile(np.arange(256, dtype=np.uint8)[:, None, None], (1, 1, 3))
    back = pixels_of(preprocess.normalize(pixels)[None], preprocess)
    assert np.array_equal(back[0], np.moveaxis(pixels, -1, 0))


@pytest.mark.parametrize("name", NAMES)
def test_graph(lowered, name):
    made = lowered[name]
    graph = coreml.read_graph(made.path)
    ops = Counter(node.op for node in graph.nodes)
    assert ops[TRANSPOSE] == 0
    assert ops[QUANTIZE] == ops[DEQUANTIZE] and bool(ops[QUANTIZE]) == (name != "float")
    assert graph.inputs == ("image",) and "logits" in graph.outputs
    assert set(n for node in graph.nodes for n in node.inputs) <= set(graph.tensors)
    macs = 0

    def count(module, args, out):
        nonlocal macs
        macs += out.numel() * module.weight[0].numel()

    kinds = NamedConv2d | QuantizedConv2d
    hooks = [m.register_forward_hook(count) for m in made.module.modules() if isinstance(m, kinds)]
    program_logits(made, pictures(1))
    for hook in hooks:
        hook.remove()
    convs = [node for node in graph.nodes if node.op in (CONV, DEPTHWISE)]
    assert sum(node.macs for node in convs) == macs
    # q·k and v·weights: each heads * positions^2 * width.
    side = {2: SIZE // 16, 3: SIZE // 32}
    assert sum(n.macs for n in graph.nodes if n.op == MATMUL) == sum(
        2 * 8 * (s * s) ** 2 * 32 for s in side.values()
    )
    for node in convs:
        weight = graph.tensors[node.inputs[1]]
        assert weight.constant and weight.dtype == ("float16" if name == "float" else "int8")
        assert name == "float" or (weight.axis == 0 and len(weight.scale) == weight.shape[0])


def truncate(path: Path, fraction: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])


WEIGHTS = WEIGHTS_FOLDER / "weight.bin"
DAMAGE: dict[str, Callable[[Path], None]] = {
    "half a program": lambda p: truncate(p / MODEL_PATH, 0.5),
    "an empty program": lambda p: truncate(p / MODEL_PATH, 0.0),
    "another file as program": lambda p: (p / MODEL_PATH).write_bytes(b"no model" * 100),
    "half the weights": lambda p: truncate(p / WEIGHTS, 0.5),
    "nearly all the weights": lambda p: truncate(p / WEIGHTS, 0.99),
    "empty weights": lambda p: truncate(p / WEIGHTS, 0.0),
    "weights of zeros": lambda p: (p / WEIGHTS).write_bytes(bytes((p / WEIGHTS).stat().st_size)),
    "no weights": lambda p: (p / WEIGHTS).unlink(),
    "no program": lambda p: (p / MODEL_PATH).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_package_is_one_line(lowered, tmp_path, damage):
    path = tmp_path / "broken.mlpackage"
    shutil.copytree(lowered["cpu"].path, path)
    DAMAGE[damage](path)
    for use in (coreml.load, coreml.read_graph):
        with pytest.raises(UserError, match="broken.mlpackage") as caught:
            use(path)
        assert "\n" not in str(caught.value)


def test_an_unknown_op_is_named(lowered, tmp_path):
    def edit(spec, weights):
        op = next(o for o in operations(spec) if o.type == "gelu")
        op.type = "atan"
        del op.inputs["mode"]

    with pytest.raises(UserError, match="'atan'"):
        coreml.load(edited(lowered["cpu"].path, tmp_path, edit))


# --- the teacher-forced check and its negative controls ---


@pytest.mark.parametrize("name", NAMES)
def test_check_passes_a_right_file(lowered, name):
    made = lowered[name]
    result = mil_check.check(made.path, made.module, pictures(2, seed=3))
    assert result.failure is None
    convs = [m for m in made.module.modules() if isinstance(m, NamedConv2d | QuantizedConv2d)]
    assert result.convolutions == 2 * len(convs)
    quantizes = [n for n in coreml.read_graph(made.path).nodes if n.op == QUANTIZE]
    assert result.quantizes == 2 * len(quantizes)
    assert result.worst_step <= 1
    mil_check.check_file(made.path, made.module, pictures(1, seed=3))


def operations(spec):
    (function,) = spec.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    return block.operations


def edited(path: Path, folder: Path, edit: Callable) -> Path:
    """A copy of the package after `edit(spec, weights)`; weights: the blob file's bytes."""
    copy = folder / "edited.mlpackage"
    shutil.copytree(path, copy)
    spec = Model_pb2.Model.FromString((copy / MODEL_PATH).read_bytes())
    weights = bytearray((copy / WEIGHTS).read_bytes())
    edit(spec, weights)
    (copy / MODEL_PATH).write_bytes(spec.SerializeToString())
    (copy / WEIGHTS).write_bytes(weights)
    return copy


def argument(spec, op, name: str):
    """The value of an op's constant input."""
    bound = op.inputs[name].arguments[0]
    if bound.WhichOneof("binding") == "value":
        return bound.value
    (source,) = [o for o in operations(spec) if o.outputs and o.outputs[0].name == bound.name]
    return source.attributes["val"]


def change(value, weights: bytearray, function: Callable[[np.ndarray], np.ndarray]) -> None:
    """Apply `function` to a float16 constant, in the program or in the blob file."""
    if value.WhichOneof("value") == "blobFileValue":
        at = value.blobFileValue.offset
        size, offset = (int(v) for v in np.frombuffer(bytes(weights[at + 8 : at + 24]), "<u8"))
        old = np.frombuffer(bytes(weights[offset : offset + size]), "<f2")
        weights[offset : offset + size] = function(old.copy()).astype("<f2").tobytes()
        return
    tensor = value.immediateValue.tensor
    old = np.frombuffer(tensor.bytes.values, "<f2")
    tensor.bytes.values = function(old.copy()).astype("<f2").tobytes()


def nth(spec, kind: str, index: int):
    return [o for o in operations(spec) if o.type == kind][index]


def first_only(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    def scale(values: np.ndarray) -> np.ndarray:
        values[0] *= factor
        return values

    return scale


def weight_scale(spec, index: int):
    op = nth(spec, "constexpr_affine_dequantize", index)
    return op.attributes["scale"] if "scale" in op.attributes else argument(spec, op, "scale")


def set_mode(spec) -> None:
    strings = argument(spec, nth(spec, "gelu", 2), "mode").immediateValue.tensor.strings
    assert list(strings.values) == ["EXACT"]
    strings.values[0] = "TANH_APPROXIMATION"


def set_pad(spec) -> None:
    ints = argument(spec, nth(spec, "conv", 0), "pad").immediateValue.tensor.ints
    assert list(ints.values) == [3, 3, 3, 3]
    ints.values[:] = [3, 3, 2, 4]


CONTROLS: dict[str, tuple[Callable, str]] = {
    "a weight 2 % off": (
        lambda s, w: change(weight_scale(s, 5), w, lambda v: v * 1.02),
        "SQNR",
    ),
    "one channel's weight 2 % off": (
        lambda s, w: change(weight_scale(s, 5), w, first_only(1.02)),
        "SQNR",
    ),
    "a bias zeroed": (
        lambda s, w: change(argument(s, nth(s, "conv", 7), "bias"), w, lambda v: v * 0),
        "SQNR",
    ),
    "a quantize's scale 5 % off": (
        lambda s, w: change(argument(s, nth(s, "quantize", 9), "scale"), w, lambda v: v * 1.05),
        "scale",
    ),
    "a dequantize's scale 5 % off": (
        lambda s, w: change(argument(s, nth(s, "dequantize", 9), "scale"), w, lambda v: v * 1.05),
        "",
    ),
    "a norm's eps": (
        lambda s, w: change(argument(s, nth(s, "layer_norm", 3), "epsilon"), w, lambda v: v * 10),
        "eps",
    ),
    "GELU's mode": (lambda s, w: set_mode(s), "TANH_APPROXIMATION"),
    "the image's mean": (
        lambda s, w: change(argument(s, nth(s, "sub", 0), "y"), w, lambda v: v + 8),
        "network:input",
    ),
    "the stem norm's shift": (
        lambda s, w: change(argument(s, nth(s, "add", 0), "y"), w, lambda v: v + 0.2),
        "",
    ),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_check_catches(lowered, tmp_path, control):
    made = lowered["cpu"]
    edit, expected = CONTROLS[control]
    path = edited(made.path, tmp_path, edit)
    with pytest.raises(UserError, match=f"doesn't compute .*: .*{re.escape(expected)}"):
        mil_check.check_file(path, made.module, pictures(2, seed=3))


@pytest.mark.parametrize("other", [NPU, "float"])
def test_check_catches_another_programs_file(lowered, other):
    result = mil_check.check(lowered[other].path, lowered["cpu"].module, pictures(1))
    assert result.failure is not None


@pytest.mark.slow
@pytest.mark.long
def test_xxs_on_real_images(golden_state, data_dir, tmp_path):
    torch.set_num_threads(1)
    model = network("efficientmod_xxs", 1000, golden_state("efficientmod_xxs"))
    preprocess = Preprocess()
    info = ModelInfo("efficientmod_xxs", tuple(map(str, range(1000))), preprocess)

    def read(split: str, count: int) -> np.ndarray:
        from PIL import Image

        samples = read_folder(data_dir / split).spread(count).samples
        return np.stack([preprocess(Image.open(s.path)) for s in samples])

    form = canonical_form(model, (3, 224, 224)).form(COREML_FORM)
    made = lower_all(form, info, torch.from_numpy(read("train", 16)), tmp_path)
    x = read("val", 8)
    for name in MIN_SQNR_XXS:
        one = made[name]
        assert mil_check.check(one.path, one.module, x[:2]).failure is None
        y = coreml.load(one.path).run_many(x)
        assert sqnr_db(program_logits(one, x), y) >= MIN_SQNR_XXS[name]


@pytest.mark.parametrize("kind", ["cpu", "float"])
def test_other_labels(lowered, tmp_path, kind):
    made = lowered[kind]
    x = pictures(1)
    new = check_labels(coreml, made.path, made.info, kind != "float", x, tmp_path)
    classify = next(o for o in open_package(new).operations if o.op_type == "classify")
    assert str(classify.inputs["classes"].val[1]) == "étiquette 1 x"


def test_what_is_read_without_coremltools_is_what_it_says():
    """The names of its operations, and the classes of its messages."""
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry
    from coremltools.proto import Model_pb2

    assert known_ops() == {*SSAOpRegistry.core_ops, "write_state"}
    assert len(known_ops()) > 100
    assert model_type() is Model_pb2.Model
