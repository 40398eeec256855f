"""The command line itself: what is refused before any work, and how."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from export.verbs import main as cli
from export.verbs import options
from export.verbs.look import report
from mobilemod import ranges
from mobilemod.errors import UserError, meant, unknown
from mobilemod.files import atomic_folder, atomic_path, require_replaceable, require_writable


def refused(capsys, *words: str) -> str:
    """The one line that a refused command prints."""
    code = cli.main([str(w) for w in words])
    said = capsys.readouterr()
    assert code == 2, said
    assert said.out == "" and said.err.count("\n") == 1
    return said.err


BELOW, ABOVE = "give a whole number from 1", "give a number above 0 to 100 points"
NUMBERS = [
    (("validate", "x", "--limit", "0"), f"--limit: '0': {BELOW} to 100,000,000 images"),
    (("validate", "x", "--limit", "-1"), "--limit: '-1'"),
    (("validate", "x", "--limit", "1.5"), "--limit: '1.5'"),
    (("validate", "x", "--limit", "1e3"), "--limit: '1e3'"),
    (("validate", "x", "--max-drop", "nan"), "give a number from 0 to 100 points"),
    (("validate", "x", "--max-drop", "-0.1"), "--max-drop: '-0.1'"),
    (("validate", "x", "--max-drop", "inf"), "--max-drop: 'inf'"),
    (("validate", "x", "--max-upper", "0"), ABOVE),
    (("validate", "x", "--max-upper", "-1"), ABOVE),
    (("validate", "x", "--min-agreement", "100.1"), "from 0 to 100 percent"),
    (("validate", "x", "--threads", "1,0"), "'0': give a whole number from 1 to 256 threads"),
    (("validate", "x", "--threads", "1,1"), "twice"),
    (("validate", "x", "--threads", "1,"), "--threads"),
    (("validate", "x", "--sustained", "-1"), "from 0 to 86,400 seconds"),
    (("harness", "serve", "x", "--port", "70000"), "from 0 to 65,535"),
    (("stress", "x", "--images", "0"), "--images"),
    (("stress", "x", "--max-mean-drop", "nan"), "--max-mean-drop"),
    (("sensitivity", "x", "--images", "-3"), "--images"),
    (("search", "x", "--max-drop", "inf"), "--max-drop"),
    (("profile", "x", "--rounds", "0"), "--rounds"),
    (("bench", "x", "--runs", "0"), "--runs"),
    (("bench", "x", "--max-rise", "nan"), "--max-rise"),
    (("export", "--size", "0"), "from 16 to 1,024 pixels"),
    (("train", "--lr", "0"), "--lr"),
    (("train", "--steps", "0"), "--steps"),
]


@pytest.mark.parametrize(("words", "line"), NUMBERS, ids=lambda v: " ".join(v) if v else "")
def test_a_number_outside_its_range_is_refused_with_the_range(capsys, words, line):
    said = refused(capsys, *words)
    assert line in said and said.startswith("mobilemod: error: ")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("validat", "x"), "did you mean 'validate'?"),
        (("validate", "x", "--limitt", "3"), "did you mean '--limit'?"),
        (("validate", "x", "--lim", "3"), "did you mean '--limit'?"),
        (("export", "--model", "resnet50"), "known: efficientformerv2_s0, efficientformerv2_s1"),
        (("export", "--model", "efficientmod-xxs"), "did you mean 'efficientmod_xxs'?"),
        (("export", "--targets", "tflight"), "did you mean 'tflite'?"),
        (("export", "--recipe", "cpux86"), "did you mean 'cpu-x86'?"),
        (("bench", "x", "--device", "hots"), "did you mean 'host'?"),
        (("sensitivity", "x", "--by", "modul"), "did you mean 'module'?"),
        (("data", "--size", "32"), "known: 160, 320, full"),
    ],
)
def test_a_misspelled_word_is_refused_with_what_may_be_meant(capsys, words, line):
    assert line in refused(capsys, *words)


def test_the_help_lists_what_is_known(capsys):
    from mobilemod.harness.bench.bench import KINDS
    from mobilemod.harness.drivers import DRIVERS
    from mobilemod.networks.registry import variants

    assert tuple(options.VARIANTS.split(", ")) == tuple(variants())
    assert set(options.DEVICES.split(", ")) == set(DRIVERS)
    assert cli.main(["bench", "--help"]) == 0
    assert ", ".join(KINDS) in " ".join(capsys.readouterr().out.split())


def test_every_option_says_its_default_or_that_it_has_none():
    """An option with a default of its own names it in its help."""
    for name, parser in cli.build_parser()._subparsers._group_actions[0].choices.items():
        for action in parser._actions:
            if action.default not in (None, False, [], "==SUPPRESS==") and action.option_strings:
                given = action.default
                value = f"{given:g}" if isinstance(given, float) else str(given)
                if action.dest != "data" and not value.startswith("/"):
                    assert value in action.help, f"{name} {action.option_strings[0]}: {value}"


def test_ranges_take_their_edges():
    assert ranges.POINTS("0") == 0 and ranges.POINTS("100") == 100
    assert ranges.THREADS.list("1, 2,4") == (1, 2, 4)
    for value in (True, float("nan"), float("inf"), -0.1, "1", None):
        with pytest.raises(UserError, match="max_drop must be a number from 0 to 100 points"):
            ranges.POINTS.check("max_drop", value)
    with pytest.raises(UserError):
        ranges.IMAGES.check("limit", 1.0)


def test_unknown_names_are_told_with_the_nearest():
    assert str(unknown("fruit", "aple", ["apple", "pear"])) == (
        "unknown fruit 'aple'; known: apple, pear; did you mean 'apple'?"
    )
    assert meant("zzz", ["apple"]) == ""


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "--answer classes: networks for classification give scores alone; leave it out"),
        (("--targets", "tflite,executorch:vulkan"),
         "--answer classes: files of executorch:vulkan give scores alone; give --targets tflite "
         "(TARGETS=…), or leave --answer out"),
        (("--targets", "executorch:vulkan"), "give other targets, or leave --answer out"),
        (("--answer", "class"), "'class'; known: scores, classes; did you mean 'classes'?"),
    ],
)  # fmt: skip
def test_an_answer_that_no_file_gives_is_refused(capsys, tmp_path, words, line):
    """A bundled network classifies; nothing is written."""
    out = tmp_path / "out"
    said = refused(capsys, "export", "--answer", "classes", "--out", out, *words)
    assert line in said and not out.exists()


@pytest.mark.parametrize("verb", ["export", "train", "data", "sensitivity", "search"])
def test_an_impossible_out_is_found_before_the_work(capsys, tmp_path, verb):
    file = tmp_path / "file"
    file.write_text("mine")
    bundle = ["x"] if verb in ("sensitivity", "search") else []
    for out, why in (
        (file, "it is a file"),
        (file / "below" / "it", f"{file} is no folder"),
        (tmp_path / ("n" * 300), "name"),
        (Path("/proc/nothing/here"), "/proc may not be written to"),
    ):
        if out.parts[1] == "proc" and os.access("/proc", os.W_OK):
            continue
        said = refused(capsys, verb, *bundle, "--out", out)
        assert f"--out {out} can't be written" in said and why in said
    assert file.read_text() == "mine"


def test_a_record_that_cant_be_written_is_found_before_the_work(capsys, tmp_path):
    said = refused(capsys, "inspect", "x.pte", "--json", tmp_path)
    assert f"--json {tmp_path} can't be written: it is a folder" in said
    said = refused(capsys, "bench", "x.pte", "--record", "/dev/null/x")
    assert "/dev/null is no folder" in said


def test_a_folder_of_other_files_is_not_replaced(capsys, tmp_path):
    """Everything in --out would be gone."""
    (tmp_path / "letter.txt").write_text("dear")
    said = refused(capsys, "export", "--out", tmp_path)
    assert "holds other files and no manifest.json" in said
    assert (tmp_path / "letter.txt").read_text() == "dear"
    (tmp_path / "manifest.json").write_text("{}")
    require_replaceable(tmp_path, "manifest.json")
    empty = tmp_path / "empty"
    empty.mkdir()
    require_replaceable(empty, "manifest.json")


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    (real / "old").touch()
    link.symlink_to(real)
    require_writable(link, "--out", folder=True)
    with atomic_folder(link) as folder:
        (folder / "new").touch()
    assert link.is_symlink() and [p.name for p in real.iterdir()] == ["new"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "real"]
    gone = tmp_path / "gone"
    gone.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="a link to .*nowhere, which isn't there"):
        require_writable(gone, "--out", folder=True)


def test_what_a_killed_run_left_is_removed(tmp_path):
    """Its name carries the id of a process that is gone."""
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True)  # fmt: skip
    gone = done.stdout.strip()
    for name in (f".a[1].json.{gone}.x", f".a[1].json.{os.getpid()}.y", ".a[1].json.notes"):
        (tmp_path / name).touch()
    with atomic_path(tmp_path / "a[1].json") as path:
        path.write_text(json.dumps(1))
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {"a[1].json", f".a[1].json.{os.getpid()}.y", ".a[1].json.notes"}


def test_memory_that_runs_out_is_one_line(capsys, monkeypatch):
    def greedy(_):
        raise MemoryError

    monkeypatch.setattr(report, "run", greedy)
    assert "not enough memory" in refused(capsys, "report", "x")


def test_a_machine_without_a_package_is_told_which_targets_it_has(capsys, monkeypatch):
    """Linux on ARM has no build of litert-converter."""
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == "litert_converter" else found(n, *a)
    )
    said = refused(capsys, "export", "--targets", "executorch,tflite")
    assert "target tflite needs litert_converter, not installed here" in said
    assert "--targets executorch,coreml" in said

    def lacks(_):
        raise ModuleNotFoundError("No module named 'coremltools'", name="coremltools")

    monkeypatch.setattr(report, "run", lacks)
    assert "coremltools isn't installed here: run 'make setup'" in refused(capsys, "report", "x")


def test_a_message_is_one_printable_line():
    """Names quoted from a damaged file can hold line ends and terminals' commands."""
    error = UserError("a.mlpackage: weights/\n\x1b[31m\udcffé.bin is missing")
    assert str(error) == r"a.mlpackage: weights/\n\x1b[31m\xffé.bin is missing"
