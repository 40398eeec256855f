"""A `.pte` with Core ML's delegate: its payload is the program of the `.mlpackage`, computes what
the quantized program does, and is caught where it doesn't."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from export.auditing.audit import audit_file
from export.quiet import quiet
from export.targets.base import ModelInfo
from export.targets.comparison import Parting
from export.targets.coreml.reader import attribute, constant, open_package
from export.targets.executorch.reader import read_pte
from export.targets.executorch.running import runtime
from export.targets.executorch_coreml.payload import METADATA, PACKAGE, packed, unpacked
from export.targets.executorch_coreml.program import open_payload
from export.targets.flatbuffer import DamagedError
from export.targets.target import get_target, target_of_file
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.targets.executorch_coreml import FACTS
from quantization.program import QuantizedConv2d, QuantizeDequantize, quantize
from tests.parity.small import SIZE, small_form, small_table
from tests.parity.test_coreml import pictures

INFO = ModelInfo("small", ("a", "b"), Preprocess(size=SIZE))
IMAGES = pictures(2, SIZE)
TARGET, PACKAGED = get_target(FACTS.name), get_target("coreml")


@pytest.fixture(scope="module")
def form():
    return small_form(FACTS)


@pytest.fixture(scope="module")
def table(form):
    return small_table(form, FACTS, IMAGES)


@pytest.fixture
def program(form, table):
    return quantize(form, table, FACTS.fold)


@pytest.fixture(scope="module")
def files(form, table, tmp_path_factory) -> dict[str, Path]:
    """The `.pte` and the `.mlpackage` of one quantized program, and the former once more."""
    folder, whole = tmp_path_factory.mktemp("delegate"), quantize(form, table, FACTS.fold)
    found = {n: folder / f"{n}{FACTS.suffix}" for n in ("pte", "again")}
    for path in found.values():
        TARGET.lower(whole, INFO, path, int8=True)
    found["package"] = folder / f"package{PACKAGED.facts.suffix}"
    PACKAGED.lower(whole, INFO, found["package"], int8=True)
    return found


def test_it_computes_what_its_program_does(files, program):
    TARGET.check(files["pte"], program, IMAGES)
    runner = TARGET.load(files["pte"])
    assert runner.description.startswith("MIL evaluator (not Core ML) of the payload")
    found = runner.run_many(IMAGES)
    with torch.no_grad():
        assert sqnr_db(program(torch.from_numpy(IMAGES)).numpy(), found) > 30
    assert sqnr_db(PACKAGED.load(files["package"]).run_many(IMAGES), found) > 30
    with pytest.raises(ValueError, match=r"expected float32 \(1, 3, 32, 32\)"):
        runner.run(IMAGES)


def described(operations) -> list[tuple]:
    """Each op with all that the file alone says of it."""
    found = []
    for op in operations:
        if op.op_type == "const":
            continue
        given = {
            name: None if isinstance(v, list | tuple) else constant(v)
            for name, v in op.inputs.items() if v is not None
        }  # fmt: skip
        values = {n: v.tobytes() for n, v in given.items() if v is not None and v.dtype != object}
        found.append((op.op_type, str(attribute(op, "mode", "")), values))
    return found


def test_its_program_is_the_packages_but_for_the_ends(files):
    """The package normalizes pixels first, and makes probabilities and a label at last."""
    own = described(open_payload(files["pte"]).operations)
    package = described(open_package(files["package"]).operations)
    kinds = [kind for kind, *_ in package]
    same = [op for op in package[: kinds.index("softmax", len(kinds) - 6)] if op[0] != "cast"]
    for end in ("sub", "mul"):
        del same[[kind for kind, *_ in same].index(end)]
    assert [op for op in own if op[0] != "cast"] == same
    assert len(same) > 40 and len(own) == len(same) + 2


def test_the_same_inputs_give_the_same_bytes(files):
    assert files["pte"].read_bytes() == files["again"].read_bytes()


def test_one_partition_and_nothing_outside(files):
    audit, package = audit_file(files["pte"]), audit_file(files["package"])
    assert (audit.partitions, audit.outside, audit.opaque) == (1, {}, {})
    assert audit.int8_share == package.int8_share == 1.0
    assert (audit.macs, audit.matmul_macs) == (package.macs, package.matmul_macs)
    ends = {"cast > conv", "mul > conv"}  # what the input goes through first
    inner = ({k: n for k, n in a.quantized.items() if k not in ends} for a in (audit, package))
    assert next(inner) == next(inner) != {}


def test_executorch_reads_it_and_its_own_module_unpacks_it(files, tmp_path):
    native = pytest.importorskip("executorch.backends.apple.coreml.executorchcoreml")
    ((name, block),) = read_pte(files["pte"]).opaque.values()
    assert name == "CoreMLBackend"
    assert native.unflatten_directory_contents(bytes(block), str(tmp_path))
    (folder,) = tmp_path.iterdir()
    on_disk = {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
    assert on_disk == {name: bytes(data) for name, data in unpacked(block).items()}
    told = json.loads(on_disk[METADATA])
    assert (told["inputNames"], told["outputNames"]) == (["image"], ["logits"])
    again = native.flatten_directory_contents(str(folder))
    assert {name: bytes(data) for name, data in unpacked(again).items()} == on_disk
    with quiet():
        (notes,) = runtime(1)._load_for_executorch(str(files["pte"])).run_method("metadata")
    assert json.loads(notes)["labels"] == ["a", "b"]


def test_another_label_changes_no_program(files, tmp_path):
    path = tmp_path / f"named{FACTS.suffix}"
    TARGET.label(files["pte"], ModelInfo("named", ("x", "y"), INFO.preprocess), path, int8=True)
    blocks = [bytes(b) for p in (files["pte"], path) for _, b in read_pte(p).opaque.values()]
    assert blocks[0] == blocks[1] and files["pte"].read_bytes() != path.read_bytes()


def broken_scale(program) -> str:
    tap = [m for m in program.modules() if isinstance(m, QuantizeDequantize)][3]
    tap.args = (tap.args[0] * 1.01, *tap.args[1:])
    tap.params = dataclasses.replace(tap.params, scale=tap.args[:1])
    return f"{tap.tensor} .* has scale"


def broken_weight(program) -> str:
    conv = [m for m in program.modules() if isinstance(m, QuantizedConv2d)][0]
    conv.weight.neg_()
    return "output SQNR|of the codes differ"


@pytest.mark.parametrize("broken", [broken_scale, broken_weight])
def test_what_isn_t_the_program_s_is_caught(broken, files, program):
    said = broken(program)
    with pytest.raises(Parting, match=said):
        TARGET.check(files["pte"], program, IMAGES)


def damaged(content: bytes, place: str, block: bytes) -> bytes:
    """The file's bytes, cut or changed somewhere."""
    start = content.index(block)
    if place == "cut":
        return content[: start + len(block) // 2]
    if place == "table":
        end = start + len(block)
        return content[: end - 40] + b"\xff" * 40 + content[end:]
    weights = content.index(b"\xef\xbe\xad\xde", start)
    return content[:weights] + b"\0" * 4 + content[weights + 4 :]


@pytest.mark.parametrize("place", ["cut", "table", "weights"])
def test_a_damaged_file_is_one_line_that_names_it(place, files, tmp_path):
    path = tmp_path / f"bad{FACTS.suffix}"
    ((_, block),) = read_pte(files["pte"]).opaque.values()
    path.write_bytes(damaged(files["pte"].read_bytes(), place, bytes(block)))
    for use in (TARGET.read_graph, TARGET.load):
        with pytest.raises(UserError, match=r"bad\.coreml\.pte: damaged") as caught:
            use(path)
        assert "\n" not in str(caught.value) and PACKAGE not in str(caught.value)


def test_a_pte_of_another_delegate_is_told(files, tmp_path):
    path = tmp_path / f"a{FACTS.suffix}"
    path.write_bytes((Path(__file__).parents[1] / "data/models/act_relu.pte").read_bytes())
    assert target_of_file(path) == TARGET
    with pytest.raises(UserError, match="expected one call of the delegate CoreMLBackend, found"):
        TARGET.read_graph(path)


FILES = {f"{PACKAGE}/a/b.bin": b"\0\1\2", f"{PACKAGE}/c": b"", METADATA: "{“}".encode()}


def test_a_block_holds_any_files():
    block = packed(FILES)
    assert {n: bytes(d) for n, d in unpacked(block).items()} == FILES
    assert packed(dict(reversed(FILES.items()))) == block


@pytest.mark.parametrize(
    "change",
    [
        lambda nodes: nodes[0]["dataRegion"].update(size=10**9),
        lambda nodes: nodes[0]["dataRegion"].update(offset=-1),
        lambda nodes: nodes[-1]["children"].update({"..": 0}),
        lambda nodes: nodes[-1]["children"].update({"a": 99}),
        lambda nodes: nodes[-1]["children"].update({"a": len(nodes) - 1}),
        lambda nodes: nodes.clear(),
        lambda nodes: nodes[0].pop("kind"),
    ],
)
def test_a_table_of_contents_that_contradicts_itself(change):
    content = packed(FILES)
    table = json.loads(content[::-1].decode("latin-1").partition("]}")[0] + "]}")
    change(table["nodes"])
    with pytest.raises(DamagedError):
        unpacked(content[:3] + json.dumps(table).encode()[::-1])
