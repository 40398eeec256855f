"""The docs' command lines, run as they stand, page by page, on tiny inputs of the same names."""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from export.verbs.main import main
from mobilemod.networks.efficientmod import Variant
from tests.documented import PAGES, commands, runs, table
from tests.workspace import make_workspace, patch_variants

# What a measurement ends with on drawn weights: a gate failed, or is undecided.
DONE, GATES = {0}, {0, 1, 4}
GATED = ("validate", "stress", "search", "bench", "inspect", "profile", "train")


@pytest.fixture(scope="module")
def call(
    shallow_variant: Variant, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], None]]:
    """`call(line)`: it runs in a folder that has what the docs name, once however often asked."""
    folder = tmp_path_factory.mktemp("workspace")
    done: set[str] = set()

    def run(line: str) -> None:
        words = small(line)
        if str(words) in done:
            return
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main(words)
        ok = GATES if words[0] in GATED else DONE
        assert code in ok, f"mobilemod {shlex.join(words)}: exit code {code}\n{said.getvalue()}"
        done.add(str(words))

    with pytest.MonkeyPatch.context() as patch:
        patch_variants(patch, shallow_variant, folder)
        make_workspace(folder, table()["files"])
        for name in [n for n in os.environ if n.startswith("MOBILEMOD_")]:
            patch.delenv(name)
        patch.setenv("MOBILEMOD_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        for line in table()["first"]:
            run(line)
        yield run


def small(line: str) -> list[str]:
    """The words of a line behind the program's name: stand-ins put in, and what makes it small
    appended, where the last of an option counts."""
    for name, own in table()["stand_in"].items():
        line = re.sub(rf"(?<![\w./-]){re.escape(name)}", own, line)
    words = shlex.split(line)[1:]
    for rule in table()["small"]:
        if re.search(rule["line"], line):
            words += shlex.split(rule["words"])
    return [str(p) for w in words for p in (sorted(Path().glob(w)) if "*" in w else [w])]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_the_commands_of_a_page_run(page: Path, call: Callable[[str], None]) -> None:
    faults = []
    for command in commands(page):
        for line in runs(command) if command.block else ():
            try:
                call(line)
            except AssertionError as error:
                faults.append(f"{command}\n{error}")
    assert not faults, "\n".join(faults)


BENCHMARKS = sorted(
    {c.text for page in PAGES for c in commands(page) if c.text.startswith("python -m benchmarks.")}
)


@pytest.mark.slow
@pytest.mark.parametrize("line", BENCHMARKS)
def test_a_benchmark_has_the_options_that_are_told(line: str, monkeypatch, capsys) -> None:
    """Those that run for minutes to hours aren't run."""
    module, given = line.split()[2], set(re.findall(r"(?<= )--[\w-]+", line))
    monkeypatch.setattr("sys.argv", [module, "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module(module, run_name="__main__")
    assert stopped.value.code == 0
    assert not given - set(re.findall(r"--[a-z][\w-]*", capsys.readouterr().out))
