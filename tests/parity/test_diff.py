"""`mobilemod diff` on lowered files: every tensor named, taps that change nothing, causes found."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.agreement import one_code
from export.bundle_parts import REFERENCE_FILE
from export.diff.compare import SCHEMA, DiffConfig, diff_files
from export.diff.rules import exact, inputs_of
from export.diff.taps import BundleTaps
from export.measure.device_host import BundleHost
from export.targets.base import FORMS, ModelInfo
from export.targets.comparison import Parting
from export.targets.coreml.reader import WEIGHTS_FOLDER
from export.targets.executorch.taps import PteTaps
from export.targets.executorch.xnnpack.pack import pack_delegate
from export.targets.target import Target, get_target, target_of_file
from export.targets.tflite import taps
from export.targets.tflite.edit import TfliteModel
from export.verbs.main import main
from export.verbs.options import EXIT_OK, EXIT_USER
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.forms.canonical import Canonical, canonical_form
from mobilemod.manifest import load_bundle, seal_bundle, write_manifest
from mobilemod.manifest_schema import ModelFile
from mobilemod.networks.checkpoints import save_checkpoint
from mobilemod.networks.efficientmod import Variant
from mobilemod.networks.registry import network as published
from mobilemod.networks.synthetic import trained_like_state
from mobilemod.results.diff.text import text
from mobilemod.targets.coreai import FACTS as COREAI
from quantization.calibration import Calibration, observe, weights_digest
from quantization.params import ParameterTable
from quantization.program import make_table, quantize
from quantization.recipe import load_recipe
from tests.manifests import (
    accept,
    checkpoint,
    manifest_values,
    model_entry,
    read_manifest,
    write_float,
)
from tests.parity.test_coreml import change, edited, nth, set_mode, weight_scale

SIZE = 64
FILES = {
    "pte": ("tiny_int8.pte", get_target("executorch")),
    "tflite": ("tiny_int8.tflite", get_target("tflite")),
    "mlpackage": ("tiny_int8.mlpackage", get_target("coreml")),
}
if all(importlib.util.find_spec(package) for package in COREAI.packages):
    FILES["aimodel"] = ("tiny_int8.aimodel", get_target("coreai"))
needs_coreai = pytest.mark.skipif(
    "aimodel" not in FILES, reason=f"needs Core AI: '{COREAI.installed_by}' installs it"
)
MOST = {"pte": 1e-4, "tflite": 1e-4, "mlpackage": 0.2, "aimodel": 1e-4}
FLOAT = "tiny_float16.mlpackage"
# One block of each kind, for lowering's sake.
TINY = Variant("efficientmod_tiny", (16, 24, 32, 64), (2, 0, 0, 0), (0, 0, 0, 1), 6)
MLP = "layers.0.blocks.1.mlp"
INFO = ModelInfo("tiny", tuple(f"c{i}" for i in range(10)), Preprocess(size=SIZE))


@dataclass(frozen=True)
class Made:
    """A bundle of the tiny network, its files by suffix, and an image."""

    folder: Path
    image: Path

    def file(self, suffix: str) -> Path:
        return self.folder / FILES[suffix][0]

    def diff(self, a: Path, b: Path, **more) -> dict:
        return diff_files(DiffConfig(a, b, (self.image,), bundle=self.folder, **more))


def pictures(count: int) -> torch.Tensor:
    """Smooth pictures, float32 (count, 3, SIZE, SIZE), about normalized."""
    coarse = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    return torch.nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic")


def lower(
    backend: Target, canonical: Canonical, folder: Path, name: str, calibration: Calibration | None
) -> None:
    """One file, and its table beside it; the float twin without a calibration."""
    module = canonical.form(FORMS[backend.facts.form])
    if calibration is not None:
        table = make_table(module, backend.facts.form, load_recipe("cpu"), calibration)
        table.save(folder / f"parameters-{backend.facts.form}.json")
        module = quantize(module, table, backend.facts.fold)
    backend.lower(module, INFO, folder / name, int8=calibration is not None)


@pytest.fixture(scope="module")
def canonical() -> Canonical:
    """The tiny network's form, weights of trained-like spread."""
    return canonical_form(published(TINY, 10, trained_like_state(TINY, 10)), (3, SIZE, SIZE))


@pytest.fixture(scope="module")
def made(canonical, tmp_path_factory) -> Made:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("bundle")
    form = canonical.form(FORMS["xnnpack"])
    calibration = Calibration("w", "i", 8, observe(form, list(pictures(8).split(4)), 8))
    for name, backend in FILES.values():
        lower(backend, canonical, folder, name, calibration)
    lower(get_target("coreml"), canonical, folder, FLOAT, None)
    labels = [{"id": str(i), "label": f"class {i}"} for i in range(10)]
    own = checkpoint(write_float(folder, canonical))
    preprocess = Preprocess(size=SIZE).to_dict()
    seal_bundle(folder, manifest_values(TINY.name, labels, preprocess, checkpoint=own))
    pixels = np.random.default_rng(1).integers(0, 256, (9, 9, 3), np.uint8)
    Image.fromarray(pixels).resize((90, 70), Image.Resampling.BICUBIC).save(folder / "a.png")
    return Made(folder, folder / "a.png")


@pytest.fixture(scope="module")
def x(made) -> np.ndarray:
    return load_bundle(made.folder).preprocess(Image.open(made.image))[None]


@pytest.fixture(scope="module")
def network(made) -> BundleTaps:
    return BundleTaps(load_bundle(made.folder))


# --- the taps ---


@pytest.mark.parametrize("suffix", FILES)
def test_every_int8_tensor_is_named_with_the_tables_parameters(made, network, suffix):
    named = network.file(made.file(suffix))
    table = ParameterTable.load(made.folder / f"parameters-{named.form}.json")
    held = {n: named.tensor(n) for n in named.names if named.tensor(n).scale}
    moved = {e.tensor for e in table.entries.values() if e.source in table.entries}
    assert set(held) == {e.tensor for e in table.entries.values() if e.kind == "activation"} - moved
    for name, tensor in held.items():
        entry = table.entries[name]
        scale = float(np.float16(entry.scale[0])) if suffix == "mlpackage" else entry.scale[0]
        assert (tensor.scale[0], tensor.zero_point[0]) == (scale, entry.zero_point[0]), name
    assert len(held) > 30
    real = [n for n in named.names if n not in held]
    assert {"layers.3.blocks.0.attn:softmax", "layers.0.blocks.0:residual"} <= set(real)


@pytest.mark.parametrize("suffix", FILES)
def test_reading_and_replacing_changes_nothing(made, network, x, suffix):
    named = network.file(made.file(suffix))
    untouched = target_of_file(made.file(suffix)).load(made.file(suffix)).run(x)
    assert np.array_equal(named.outputs(x), untouched)
    values = named.tensors(x, named.names)
    np.testing.assert_allclose(values["head:out"].real.ravel(), untouched, atol=1e-3)
    again = named.tensors(x, named.names, values)
    for name, tensor in again.items():
        assert np.array_equal(tensor.values, values[name].values), name


@pytest.mark.parametrize("suffix", FILES)
def test_each_op_is_the_programs_up_to_its_runtimes_rounding(made, network, x, suffix):
    """Names and layouts in one: another tensor's values, or turned ones, are far off."""
    named = network.file(made.file(suffix))
    values, known = named.tensors(x, named.names), set(named.names)
    for name, tensor in values.items():
        inputs = {n: values[n] for n in inputs_of(named, name, known)}
        result = exact(named, name, x, inputs)
        if tensor.scale is None:
            error = np.abs(tensor.real - result.values).max() / np.abs(result.values).max()
            assert error < (5e-3 if suffix == "mlpackage" else 1e-5), name
        else:
            assert result.past_middle(tensor.values.astype(float)).max() < MOST[suffix], name


def test_replacing_a_tensor_reaches_what_follows_alone(made, network, x):
    named = network.file(made.file("tflite"))
    values = named.tensors(x, named.names)
    name = f"{MLP}.fc1:gelu"
    other = values[name].values.copy()
    other[..., 0] ^= 1
    changed = named.tensors(x, named.names, {name: type(values[name])(name, other, 1.0)})
    differ = [n for n in named.names if not np.array_equal(changed[n].values, values[n].values)]
    assert differ[0] == f"{MLP}:product"
    assert not {name, f"{MLP}.fc1:out", f"{MLP}.context_layer.g:out"} & set(differ)


# --- what is found ---


def causes(record: dict) -> tuple[str, str, str]:
    """(tensor, kind, text) of the first op where the files part."""
    first = record["images"][0]["first"]
    return first["tensor"], first["kind"], first["text"]


@pytest.mark.parametrize("suffix", FILES)
def test_a_file_is_identical_to_itself(made, suffix):
    record = made.diff(made.file(suffix), made.file(suffix))
    (image,) = record["images"]
    assert image["first"] is image["first_codes"] is image["most"] is None
    assert image["undisturbed"] and not record["parameters"]
    assert all(r["share"] == 0 and r["sqnr_db"] is None for r in image["tensors"])
    assert image["top1"]["a"] == image["top1"]["b"]
    assert f"identical in all {len(image['tensors'])} tensors" in text(record)


def test_xnnpack_files_hold_the_same_codes_op_by_op(made):
    """ExecuTorch and LiteRT run one library: given the same input, every int8 op agrees."""
    record = made.diff(made.file("pte"), made.file("tflite"))
    (image,) = record["images"]
    assert not record["parameters"] and not record["only_in_a"] and not record["only_in_b"]
    assert all(r["own"]["share"] == 0 for r in image["tensors"] if r["codes"])
    assert image["first"] is None or image["first"]["kind"] == "rounding"


def test_core_ml_rounds_and_has_no_pieces(made):
    record = made.diff(made.file("pte"), made.file("mlpackage"))
    (image,) = record["images"]
    assert not record["parameters"]
    assert causes(record)[:2] == ("network:input", "rounding")
    assert image["most"]["tensor"].endswith("context_list.0:out")
    assert image["most"]["kind"] == "structure"
    assert [n.rpartition(".")[2] for n in image["most"]["figures"]["between"]] == [
        "part0:out", "part1:out", "part2:out", "sum0:out",
    ]  # fmt: skip
    assert image["most"]["figures"]["a_past_middle"] < 1e-4
    alone = {n.rpartition(".")[2] for n in record["only_in_a"] if "context_list" in n}
    assert alone == {"part0:out", "part1:out", "part2:out", "sum0:out"}
    assert "top-1" in text(record) and "structure: .pte has 4 tensors" in text(record)


@pytest.mark.parametrize("suffix", FILES)
def test_against_the_program(made, suffix):
    record = made.diff(made.file(suffix), Path("program"))
    assert not record["parameters"] and record["b"]["file"] is None
    own = [r["own"] for r in record["images"][0]["tensors"] if r["codes"]]
    assert max(o["largest"] for o in own) <= 1
    assert np.mean([o["share"] for o in own]) < (0.02 if suffix == "mlpackage" else 1e-3)
    first = record["images"][0]["first"]
    assert first is not None and first["kind"] == "rounding"


def test_a_float_twin(made):
    record = made.diff(made.file("mlpackage"), made.folder / FLOAT)
    assert causes(record)[1] == "precision"
    assert not record["parameters"]


# --- tampered files: the right op, and what is wrong with it ---


def tampered_tflite(made: Made, folder: Path, edit: Callable[[TfliteModel], None]) -> Path:
    """A copy of the `.tflite` after `edit`."""
    model = TfliteModel(made.file("tflite").read_bytes())
    edit(model)
    path = folder / "tampered.tflite"
    path.write_bytes(model.pack())
    return path


def stored(model: TfliteModel, name: str, dtype: type) -> np.ndarray:
    """The values of a constant, to be changed in place."""
    tensor = next(t for t in model.graph.tensors if t.name.decode() == name)
    buffer = model.model.buffers[tensor.buffer]
    buffer.data = np.array(buffer.data)
    return buffer.data.view(dtype)


def wrong_weight(model: TfliteModel) -> None:
    stored(model, f"{MLP}.fc1:weight", np.int8)[:40] ^= 16


def wrong_bias(model: TfliteModel) -> None:
    stored(model, f"{MLP}.context_layer.f:bias", np.int32)[:] += 4000


def wrong_piece(model: TfliteModel) -> None:
    stored(model, f"{MLP}.context_layer.context_list.0.part1:weight", np.int8)[:] //= 2


def wrong_scale(model: TfliteModel) -> None:
    name = f"{MLP}.fc2:conv_2d"
    tensor = next(t for t in model.graph.tensors if t.name.decode() == name)
    tensor.quantization.scale = tensor.quantization.scale * np.float32(1.05)


def wrong_constant(model: TfliteModel) -> None:
    stored(model, "layers.0.downsample.norm:constant", np.float32)[3] *= 1.5


CONTEXT = f"{MLP}.context_layer"
TAMPERED = {
    wrong_weight: (f"{MLP}.fc1:out", f"{MLP}.fc1:weight: 40 of"),
    wrong_bias: (f"{CONTEXT}.f:out", f"{CONTEXT}.f:bias: 16 of 16 values"),
    wrong_piece: (f"{CONTEXT}.context_list.0.part1:out", "context_list.0.part1:weight: "),
    wrong_scale: (f"{MLP}.fc2:out", f"{MLP}.fc2:out scale: "),
    wrong_constant: ("layers.0.downsample.norm:scaled", "layers.0.downsample.norm:scale: 1 of 24"),
}


@pytest.mark.parametrize("edit", TAMPERED)
def test_a_wrong_parameter_of_a_tflite_is_named(made, tmp_path, edit):
    tensor, says = TAMPERED[edit]
    record = made.diff(made.file("tflite"), tampered_tflite(made, tmp_path, edit))
    found, kind, why = causes(record)
    assert (found, kind) == (tensor, "parameter")
    assert why.startswith(says) or says in why
    assert record["parameters"][0]["tensor"] == tensor


def test_a_wrong_piece_is_no_structure(made, tmp_path):
    """Beside a whole kernel: what the pieces add up to is compared."""
    record = made.diff(tampered_tflite(made, tmp_path, wrong_piece), made.file("mlpackage"))
    assert [p["parameter"] for p in record["parameters"]] == [f"{CONTEXT}.context_list.0:weight"]
    most = record["images"][0]["most"]
    assert (most["tensor"], most["kind"]) == (f"{CONTEXT}.context_list.0:out", "parameter")


def test_a_wrong_scale_of_a_pte_is_named(made, tmp_path):
    name = f"{MLP}.fc1:out"
    path = tampered_pte(made, tmp_path, name)
    found, kind, why = causes(made.diff(made.file("pte"), path))
    assert (found, kind) == (name, "parameter") and f"{name} zero point: " in why


def tampered_pte(made: Made, folder: Path, name: str) -> Path:
    """A copy of the `.pte` whose tensor has its zero point one higher."""
    from executorch.exir import schema
    from executorch.exir._serialize._program import serialize_pte_binary

    named = BundleTaps(load_bundle(made.folder)).file(made.file("pte"))
    taps = named.taps
    assert isinstance(taps, PteTaps)
    number = int(named.names[name].partition(".v")[2])
    ((at, delegate),) = taps.cutter.delegates.items()
    for value in delegate.graph["xvalues"]:
        fields = value["xvalue_union"]
        if fields.get("tensor_value", fields)["id_out"] == number:
            fields["quant_params"]["zero_point"] += 1
    file = taps.cutter.file
    call = taps.cutter.plan.chains[0].instructions[at].instr_args
    place = taps.cutter.plan.delegates[call.delegate_index].processed.index
    blob = pack_delegate(delegate.graph, delegate.constants)
    file.program.backend_delegate_data[place] = schema.BackendDelegateInlineData(blob)
    path = folder / "tampered.pte"
    path.write_bytes(bytes(serialize_pte_binary(file, extract_delegate_segments=True)))
    return path


@needs_coreai
def test_a_wrong_scale_of_an_aimodel_is_named(made, canonical, tmp_path):
    """In the file alone: a quantize and what reads its codes hold another scale than the table."""
    name, path = f"{MLP}.fc1:out", tmp_path / "tampered.aimodel"
    backend = get_target("coreai")
    form = canonical.form(FORMS[COREAI.form])
    table = ParameterTable.load(made.folder / f"parameters-{COREAI.form}.json")
    program = quantize(form, table, COREAI.fold)
    tap = next(m for m in program.modules() if getattr(m, "tensor", "") == name)
    right, tap.args = tap.args[0], (tap.args[0] * 1.05, *tap.args[1:])
    backend.lower(program, INFO, path, int8=True)
    for other in (made.file("aimodel"), made.file("pte"), Path("program")):
        first, second = (other, path) if other.exists() else (path, other)
        record = made.diff(first, second)
        differing = {p["parameter"]: p["text"] for p in record["parameters"]}
        assert set(differing) == {f"{name} scale", f"{name}, as read, scale"}
        assert all(f"{right:.9g}" in text for text in differing.values())
        row = next(r for r in record["images"][0]["tensors"] if r["tensor"] == name)
        assert row["own"]["share"] > 0.1
    found, kind, why = causes(made.diff(made.file("aimodel"), path))
    assert (found, kind) == (name, "parameter") and f"{name} scale: " in why
    with pytest.raises(Parting, match=f"{name} has scale"):
        backend.check(path, quantize(form, table, COREAI.fold), pictures(1).numpy())


def no_bias(spec, weights: bytearray) -> None:
    from tests.parity.test_coreml import argument

    change(argument(spec, nth(spec, "conv", 4), "bias"), weights, np.zeros_like)


PACKAGES = {
    "bias": (no_bias, "parameter", ".fc1:bias: "),
    "scale": (
        lambda spec, weights: change(weight_scale(spec, 6), weights, lambda s: s * 1.04),
        "parameter",
        ":weight: ",
    ),
    "GELU": (lambda spec, weights: set_mode(spec), "approximation", "GELU: exact / tanh"),
}


@pytest.mark.parametrize("what", PACKAGES)
def test_a_wrong_parameter_of_a_package_is_named(made, tmp_path, what):
    edit, kind, says = PACKAGES[what]
    assert (made.file("mlpackage") / WEIGHTS_FOLDER).is_dir()
    record = made.diff(made.file("mlpackage"), edited(made.file("mlpackage"), tmp_path, edit))
    found, named, why = causes(record)
    assert named == kind and says in why
    (parameter,) = record["parameters"]
    assert parameter["tensor"] == found


# --- the command, and bad input ---


def test_the_command(made, capsys, tmp_path):
    out = tmp_path / "diff.json"
    arguments = ["--image", str(made.image), "--image", str(made.image), "--json", str(out)]
    files = [str(made.file("tflite")), str(made.file("mlpackage"))]
    assert main(["diff", *files, *arguments]) == EXIT_OK
    record = json.loads(out.read_text())
    assert record["schema"] == SCHEMA and len(record["images"]) == 2
    printed = capsys.readouterr().out
    assert "first op where they part: quantize, network:input" in printed
    assert printed.count(".tflite / .mlpackage") == 1
    assert "layers.0.blocks.0:residual" not in printed
    assert record["images"][0]["exact"] is None
    assert main(["diff", *files, *arguments[:2], "--all", "--exact"]) == EXIT_OK
    printed = capsys.readouterr().out
    assert "layers.0.blocks.0:residual" in printed and ".tflite past middle" in printed


def fails(capsys, *arguments: object) -> str:
    """The one line of an error of bad input."""
    assert main(["diff", *map(str, arguments)]) == EXIT_USER
    error = capsys.readouterr().err.strip()
    assert error.startswith("mobilemod: error: ") and "\n" not in error
    return error


def test_bad_input(made, capsys, tmp_path):
    a, image = made.file("tflite"), ("--image", made.image)
    assert "no image" in fails(capsys, a, a)
    assert "no such model file" in fails(capsys, a, tmp_path / "none.pte", *image)
    (tmp_path / "x.onnx").write_bytes(b"x")
    assert "no known model file" in fails(capsys, a, tmp_path / "x.onnx", *image)
    (tmp_path / "a.png").write_bytes(b"no image")
    assert "cannot be read as an image" in fails(capsys, a, a, "--image", tmp_path / "a.png")
    lonely = Path(shutil.copy(a, tmp_path))
    assert "lies in no bundle" in fails(capsys, lonely, lonely, *image)
    assert "can only stand second" in fails(capsys, "program", a, *image)
    (tmp_path / "cut.tflite").write_bytes(a.read_bytes()[:9000])
    assert "damaged" in fails(capsys, a, tmp_path / "cut.tflite", *image)


def test_another_network(made, canonical, tmp_path):
    """Weights of another training, another size, another bundle's checkpoint."""
    other = Path(shutil.copytree(made.folder, tmp_path / "other"))
    values = read_manifest(other)
    write_manifest(other, {**values, "checkpoint": checkpoint("1" * 64)})
    with pytest.raises(UserError, match="files of different networks"):
        diff_files(DiffConfig(made.file("tflite"), other / made.file("tflite").name, (made.image,)))
    write_manifest(other, {**values, "preprocess": Preprocess(size=96).to_dict()})
    with pytest.raises(UserError, match="are 96 x 96 pixels"):
        BundleTaps(load_bundle(other)).file(made.file("tflite"))
    third = Path(shutil.copytree(made.folder, tmp_path / "third"))
    trained = canonical.state()
    for state, says in (
        ({k: torch.randn_like(v) for k, v in trained.items()}, "its tensors can't be named"),
        ({k: 2 * v for k, v in trained.items()}, "weights aren't the network's"),
    ):
        save_checkpoint(third / REFERENCE_FILE, state, {"model": TINY.name}, torch.float32)
        accept(third, REFERENCE_FILE)
        own = checkpoint(weights_digest(state))
        write_manifest(third, {**read_manifest(third), "checkpoint": own})
        with pytest.raises(UserError, match=says):
            BundleTaps(load_bundle(third)).file(made.file("tflite"))


def test_a_file_of_another_structure_cannot_be_named(made, network, tmp_path):
    def without_gelu(model: TfliteModel) -> None:
        for op in model.graph.operators:
            if model.op_name(op) == "GELU":
                op.opcodeIndex, op.builtinOptions, op.builtinOptionsType = abs_code(model), None, 0

    path = tampered_tflite(made, tmp_path, without_gelu)
    with pytest.raises(UserError, match="its tensors can't be named.*gelu"):
        network.file(path)


def abs_code(model: TfliteModel) -> int:
    """The index of the operator ABS, added to the model."""
    from ai_edge_litert import schema_py_generated as schema

    number = schema.BuiltinOperator.ABS
    model.model.operatorCodes.append(
        schema.OperatorCodeT(deprecatedBuiltinCode=number, builtinCode=number, version=1)
    )
    return len(model.model.operatorCodes) - 1


def test_one_changed_code_spreads(network, made):
    """The file as it runs with a code of its own tensor put back a step higher."""
    taps = network.file(made.file("tflite"))
    (found,) = one_code(taps, pictures(6).numpy(), 0)
    assert found.tensor == "layers.0.blocks.0.norm:out" and found.runs == 6
    assert set(found.differ) == {"head:out"}
    # Logits that stay the same have no differing code; those that change have one of ten at least.
    changed = 1 - found.same / 100
    assert 10 * changed <= found.differ["head:out"] <= 100 * changed
    assert one_code(taps, pictures(6).numpy(), 0) == [found]


# --- a self-test that finds a wrong file, or unit: where it parts ---


def parts_at(folder: Path, suffix: str, x: np.ndarray, delegate: str = "xnnpack") -> str | None:
    """What the record of a device says of a bundle's file."""
    name, backend = FILES[suffix]
    entry = ModelFile.model_validate(model_entry(folder / name, backend.facts.name, "int8"))
    bundle = load_bundle(folder, verify=False)
    known = bundle.manifest.model_copy(update={"files": [entry]})
    return BundleHost(replace(bundle, manifest=known), None).parts_at(name, delegate, x)


@pytest.mark.parametrize(("suffix", "delegate"), [
    ("tflite", "xnnpack"), ("tflite", "cpu"), ("tflite", "gpu"), ("pte", "xnnpack"),
    ("mlpackage", "all"),
])  # fmt: skip
def test_a_right_file_parts_nowhere(made, x, suffix, delegate):
    assert parts_at(made.folder, suffix, x, delegate) is None


@pytest.mark.parametrize("delegate", ["xnnpack", "cpu", "gpu"])
@pytest.mark.parametrize("edit", TAMPERED)
def test_a_wrong_file_parts_at_the_tensor_that_is_wrong(made, x, tmp_path, edit, delegate):
    folder = Path(shutil.copytree(made.folder, tmp_path / "bundle"))
    (folder / FILES["tflite"][0]).write_bytes(tampered_tflite(made, tmp_path, edit).read_bytes())
    assert parts_at(folder, "tflite", x, delegate).startswith(f"{TAMPERED[edit][0]} (")


def test_a_unit_that_is_wrong_by_itself_is_named_where_it_is(made, x, monkeypatch):
    """Kernels that are wrong though the file is right: XNNPACK's are not."""
    right = taps.open_interpreter

    def broken(path, threads, changed=None, unit="xnnpack"):
        if unit == "cpu":
            model = TfliteModel(changed)
            wrong_weight(model)
            changed = model.pack()
        return right(path, threads, changed, unit)

    monkeypatch.setattr(taps, "open_interpreter", broken)
    assert parts_at(made.folder, "tflite", x, "cpu").startswith(f"{MLP}.fc1:out (")
    assert parts_at(made.folder, "tflite", x) is None
