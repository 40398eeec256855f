"""Emulated ARM64: counts of a program whose instructions are known, and of the bundled network.

Needs the root that `make arm64` sets up (in `.arm64`, or where MOBILEMOD_ARM64 says).
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from export.targets.target import target_of_file
from mobilemod.data.testcard import draw_card
from mobilemod.errors import UserError
from mobilemod.files import file_sha256
from mobilemod.harness.arm64.emulator import CLASSES, load_emulator, parse_counts
from mobilemod.harness.record.likeness import INT8_STEPS
from mobilemod.manifest import load_bundle
from tests.commands import ROOT

RECORDED = ROOT / "tests" / "data" / "arm64_instructions.json"

# Ten turns of a loop, assembled by GNU as.
PROGRAM = (
    0xD28C4C88,  # mov  x8, #0x6264
    0xF2ADADE8,  # movk x8, #0x6d6f, lsl #16
    0xD2800020,  # mov  x0, #1
    0xD4000001,  # svc  #0                       counts to zero
    0xD2800141,  # mov  x1, #10
    0x4E22CC20,  # fmla v0.4s, v1.4s, v2.4s      the loop
    0x4FA21020,  # fmla v0.4s, v1.4s, v2.s[1]
    0x4EA2CC20,  # fmls v0.4s, v1.4s, v2.4s
    0x4E859483,  # sdot v3.4s, v4.16b, v5.16b
    0x6FA5E083,  # udot v3.4s, v4.16b, v5.4b[1]
    0x0E658086,  # smlal v6.4s, v4.4h, v5.4h
    0x4E27D4E7,  # fadd v7.4s, v7.4s, v7.4s
    0x3DC003E8,  # ldr  q8, [sp]
    0x3D8003E8,  # str  q8, [sp]
    0xF1000421,  # subs x1, x1, #1
    0x54FFFEC1,  # b.ne the loop
    0xD2800040,  # mov  x0, #2
    0xD4000001,  # svc  #0                       writes the counts
    0xD2800000,  # mov  x0, #0
    0xD2800BA8,  # mov  x8, #93                  exit
    0xD4000001,  # svc  #0
)
PROGRAM_COUNTS = {
    "fp_mla": 30, "int8_dot": 20, "int_mla": 10, "simd_fp": 10, "load": 10, "store": 10,
    "other": 10 * 2 + 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def emulator():
    try:
        return load_emulator()
    except UserError as error:
        pytest.skip(str(error))


def elf(words: tuple[int, ...]) -> bytes:
    """A static 64-bit ARM program: ELF header, one program header, code right behind."""
    base, header = 0x400000, 64 + 56
    size = header + 4 * len(words)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    # type 2 "executable", machine 183 "AArch64", entry, one program header at 64
    head = struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, base + header, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return ident + head + load + struct.pack(f"<{len(words)}I", *words)


def test_every_instruction_of_a_known_program_is_counted(emulator, tmp_path):
    # A comma would end an option of QEMU's.
    folder = tmp_path / "a, b"
    folder.mkdir()
    program, counts = folder / "program", folder / "counts"
    program.write_bytes(elf(PROGRAM))
    program.chmod(0o755)
    for _ in range(2):
        done = emulator.run([str(program)], counts)
        assert done.returncode == 0, done.stderr
        assert parse_counts(counts.read_text()) == [PROGRAM_COUNTS]


def test_a_file_that_the_guest_refuses_is_said_in_one_line(emulator, tmp_path):
    path = tmp_path / "cut.tflite"
    path.write_bytes(bytes(100))
    with pytest.raises(UserError, match="cut.tflite: failed on emulated ARM64: ") as error:
        emulator.infer(path, np.zeros((1, 3, 64, 64), np.float32))
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def bundle(export, tmp_path_factory) -> Path:
    """The bundled checkpoint's `.tflite` files, from the bundled calibration table."""
    out = tmp_path_factory.mktemp("arm64") / "efficientmod_xxs"
    export(out, "--targets", "tflite")
    return out


@pytest.fixture(scope="module")
def benched(run, emulator, bundle):
    """`mobilemod bench` of the bundle, held against the recorded counts."""
    return run("bench", bundle, "--device", "arm64-emulated", "--against", RECORDED, "--json", "-",
               MOBILEMOD_ARM64=str(emulator.folder))  # fmt: skip


@pytest.mark.slow
def test_instructions_did_not_rise(benched):
    """Record the counts again where a rise is wanted; docs/arm64.md says how."""
    record = json.loads(benched.stdout)
    assert benched.returncode == 0, [v["line"] for v in record["verdicts"]]
    (verdict,) = record["verdicts"]
    assert verdict["name"] == "instructions: efficientmod_xxs_int8.tflite" and verdict["passed"]


@pytest.mark.slow
def test_the_record_is_whole_and_in_the_bundle(bundle, benched):
    record = json.loads(benched.stdout)
    assert record == json.loads((bundle / "bench" / "arm64-emulated.json").read_text())
    assert record["schema"] == "mobilemod/bench/1"
    files = {f["precision"]: f for f in record["files"]}
    assert set(files) == {"int8", "float32"}
    for entry in files.values():
        assert entry["sha256"] == file_sha256(bundle / entry["file"])
        counts = entry["instructions"]
        assert list(counts["classes"]) == list(CLASSES)
        assert sum(counts["classes"].values()) == counts["total"] and counts["spread"] == 0
        assert "latency" not in entry
    int8, real = (files[k]["instructions"] for k in ("int8", "float32"))
    # 99.7 % of the multiply-accumulates are int8: 16 by a dot product, 4 by a float instruction.
    assert real["classes"]["int8_dot"] == 0 and int8["classes"]["int8_dot"] > 1e6
    assert int8["classes"]["fp_mla"] < 0.1 * real["classes"]["fp_mla"]
    assert int8["total"] < real["total"]


@pytest.mark.slow
def test_another_run_counts_the_same(emulator, bundle, benched):
    (path,) = bundle.glob("*_int8.tflite")
    record = json.loads(benched.stdout)
    (before,) = (f["instructions"] for f in record["files"] if f["file"] == path.name)
    x = load_bundle(bundle).preprocess.normalize(draw_card(224)[None])
    again = emulator.infer(path, x).counts[-1]
    # Python's own instructions around the call may depend on its address space by some dozens.
    assert abs(sum(again.values()) - before["total"]) < 1000
    for kind in ("fp_mla", "int8_dot", "int_mla", "simd_fp"):
        assert again[kind] == before["classes"][kind]


@pytest.mark.slow
def test_logits_are_those_of_this_machine(emulator, bundle):
    """Float within rounding; int8 within the few steps that single flips of rounding grow to."""
    rng = np.random.default_rng(0)
    pixels = [draw_card(224), *rng.integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)]
    x = load_bundle(bundle).preprocess.normalize(np.stack(pixels))
    table = json.loads((bundle / "parameters-xnnpack.json").read_text())["tensors"]
    (step,) = (t["scale"][0] for t in table if t["tensor"] == "head:out")
    most = (INT8_STEPS + 0.01) * step
    for precision, images, limit in (("int8", x, most), ("float32", x[:1], 2e-5)):
        path = bundle / f"efficientmod_xxs_{precision}.tflite"
        run = target_of_file(path).load(path).run
        here = np.stack([run(image[None]) for image in images])
        there = emulator.infer(path, images, repeats=1).outputs
        assert there.shape == here.shape == (len(images), 10)
        assert np.abs(here - there).max() <= limit, precision
        assert np.abs(here[0] - here[-1]).max() > 10 * limit or len(images) == 1


@pytest.mark.slow
def test_host_latency_of_the_same_files(run, bundle):
    process = run("bench", bundle, "--device", "host", "--runs", 3, "--json", "-")
    assert process.returncode == 0, process.stderr
    record = json.loads(process.stdout)
    assert [f["latency"]["runs"] for f in record["files"]] == [3, 3]
    for f in record["files"]:
        assert 0 < f["latency"]["min_ms"] <= f["latency"]["median_ms"] <= f["latency"]["p90_ms"]
    (pair,) = record["comparisons"]
    assert (pair["int8"], pair["float"]) == tuple(
        f"efficientmod_xxs_{p}.tflite" for p in ("int8", "float32")
    )
    assert pair["low"] <= pair["ratio"] <= pair["high"]
    assert json.loads((bundle / "bench" / "host.json").read_text()) == record
