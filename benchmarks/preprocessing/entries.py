"""Each language's preparation of an image, as a command that times it.

All take FILE.rgb WIDTH HEIGHT REPEATS MANIFEST.json and print one JSON object: `milliseconds` of
each repeat, and `sha256` of the prepared pixels.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobilemod.errors import UserError

ROOT = Path(__file__).parents[2]
WEB, ANDROID, IOS = (ROOT / "apps" / name for name in ("web", "android", "ios"))
SECONDS = 600
MAX_REASON = 160


@dataclass(frozen=True)
class Picture:
    """A decoded image. file: uint8 RGB, raw. repeats: in each round; the first half warms up what
    compiles while it runs, and isn't counted. asked: the largest share of an inference's time."""

    name: str
    width: int
    height: int
    repeats: int
    asked: float
    file: Path

    def arguments(self, manifest: Path) -> list[str]:
        """Of an entry."""
        numbers = map(str, (self.width, self.height, self.repeats))
        return [str(self.file), *numbers, str(manifest)]


@dataclass(frozen=True)
class Entry:
    """command: of an entry's arguments. environment: None for this process' own."""

    language: str
    command: Callable[[list[str]], list[str]]
    environment: Mapping[str, str] | None = None


class EntryTimer:
    """Times one language's entry on pictures, a process each time, as `benchmarks.measure.rounds`
    times files. digests: of the pixels that each picture became."""

    def __init__(self, entry: Entry, pictures: Sequence[Picture], manifest: Path):
        self.entry, self.pictures, self.manifest = entry, pictures, manifest
        self.runtimes: list[str] = []
        self.digests: dict[str, str] = {}

    def wait(self, seconds: float) -> list[str]:
        """The language, for each picture."""
        del seconds
        return [self.entry.language] * len(self.pictures)

    def round(self, order: list[int]) -> tuple[list[list[float]], float]:
        """Milliseconds of the counted repeats of each picture of `order`, processor seconds of the
        processes. `UserError` where the entry fails, or gives other pixels than before."""
        before = _processor_seconds()
        taken = [self._runs(self.pictures[i]) for i in order]
        return taken, _processor_seconds() - before

    def close(self) -> None:
        """Nothing is held between rounds."""

    def _runs(self, picture: Picture) -> list[float]:
        language = self.entry.language
        command = self.entry.command(picture.arguments(self.manifest))
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=SECONDS,
            env=None if self.entry.environment is None else dict(self.entry.environment),
        )  # fmt: skip
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or "nothing said").splitlines()[-1]
            raise UserError(f"{language}: its entry ended with {done.returncode}: {said}")
        try:
            found = json.loads(done.stdout)
            times, digest = [float(v) for v in found["milliseconds"]], found["sha256"]
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"{language}: its entry printed no times: {done.stdout[:MAX_REASON]!r}"
            ) from None
        if len(times) != picture.repeats:
            raise UserError(f"{language}: {len(times)} times for {picture.repeats} repeats")
        if self.digests.setdefault(picture.name, digest) != digest:
            raise UserError(f"{language}: other pixels of the {picture.name} in another round")
        return times[len(times) // 2 :]


def entries(seen: Sequence[Path]) -> tuple[list[Entry], dict[str, str]]:
    """The languages that run here, built; of the others why not.

    seen: folders that the entries read from.
    """
    found, missing = [], {}
    for language, find in LANGUAGES.items():
        try:
            found.append(find(seen))
        except UserError as error:
            missing[language] = str(error)
    return found, missing


def _python(seen: Sequence[Path]) -> Entry:
    del seen
    command = [sys.executable, "-m", "benchmarks.preprocessing.own"]
    return Entry("Python", lambda arguments: [*command, *arguments])


def _typescript(seen: Sequence[Path]) -> Entry:
    del seen
    script = _script(WEB / "tests/bench/preparation.mjs")
    if not shutil.which("node"):
        raise UserError("no Node.js; install it")
    if not (WEB / "node_modules").is_dir():
        raise UserError("its packages aren't installed: run 'npm ci' in apps/web")
    return Entry("TypeScript", lambda arguments: ["node", script, *arguments])


def _kotlin(seen: Sequence[Path]) -> Entry:
    del seen
    script = _script(ANDROID / "check/preparation.py")
    if not shutil.which("java") or not (ANDROID / ".tools").is_dir():
        raise UserError("no Java or no Kotlin compiler: run apps/android/test.sh")
    return Entry("Kotlin", lambda arguments: [sys.executable, script, *arguments])


def _swift(seen: Sequence[Path]) -> Entry:
    _script(IOS / "Core/Sources/preparation-run/main.swift")
    sys.path.insert(0, str(IOS / "check"))
    import core
    import toolchain

    ready = toolchain.find()
    if complaints := core.build(ready, "--product", "preparation-run"):
        raise UserError(f"it doesn't build: {complaints.splitlines()[0][:MAX_REASON]}")
    program = str(core.BUILD / "release/preparation-run")
    return Entry("Swift", lambda a: ready.command(program, a, seen), ready.environment())


LANGUAGES = {"Python": _python, "TypeScript": _typescript, "Kotlin": _kotlin, "Swift": _swift}


def _script(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path.relative_to(ROOT)} isn't there")
    return str(path)


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
