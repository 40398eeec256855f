"""Plays `xcrun devicectl` and `pymobiledevice3`: called with their words, over a folder.

    tool.py devicectl|pymobiledevice3 CONTAINER WORDS…

CONTAINER/container is the app's, CONTAINER/calls gets the words of each call as JSON, and a file
CONTAINER/fail/VERB holds what the next call of that verb answers instead, and is removed.
Launching runs CONTAINER/run with the job's id, in the background.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

DATA = Path(__file__).parents[1] / "data" / "iphone"
BUNDLE = "io.mobilemod.app"


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def copy_in(source: Path, target: Path) -> None:
    """A folder's contents into `target`; like the real ones, over what is there."""
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def launch(folder: Path, words: list[str]) -> None:
    assert words[0] == BUNDLE and words[1] == "--job", words
    subprocess.Popen(
        [sys.executable, str(folder / "run"), str(folder / "container"), words[2]],
        stdin=subprocess.DEVNULL,
        stdout=(folder / "log").open("a"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def failing(folder: Path, verb: str) -> str | None:
    path = folder / "fail" / verb
    if not path.exists():
        return None
    text = path.read_text()
    path.unlink()
    return text


def devicectl(folder: Path, words: list[str]) -> int:
    """Answers go to the file of --json-output, as with the real one."""
    assert words.pop(0) == "devicectl"
    at = words.index("--json-output")
    answer = Path(words[at + 1])
    del words[at : at + 2]
    words.remove("--quiet")
    verb = "-".join(words[: 2 if words[0] == "list" else 3])
    failed = failing(folder, verb)
    if failed is None and verb == "device-copy-from" and not _copy_from(folder, words):
        failed = (DATA / "devicectl-no-file.json").read_text()
    if failed is not None:
        answer.write_text(failed)
        print("ERROR: the operation failed", file=sys.stderr)
        return 1
    result = {}
    if verb == "list-devices":
        answer.write_text((DATA / "devicectl-list.json").read_text())
        return 0
    if verb == "device-copy-to":
        assert option(words, "--domain-type") == "appDataContainer"
        assert option(words, "--domain-identifier") == BUNDLE
        target = folder / "container" / option(words, "--destination")
        copy_in(Path(option(words, "--source")), target)
    elif verb == "device-process-launch":
        launch(folder, words[words.index(BUNDLE) :])
    answer.write_text(json.dumps({"info": {"outcome": "success"}, "result": result}))
    return 0


def _copy_from(folder: Path, words: list[str]) -> bool:
    source = folder / "container" / option(words, "--source")
    if source.is_file():
        copy_in(source, Path(option(words, "--destination")))
    return source.is_file()


def pymobiledevice3(folder: Path, words: list[str]) -> int:
    """Answers on standard output, errors as lines of its log."""
    if "--udid" in words:
        at = words.index("--udid")
        del words[at : at + 2]
    verb = "-".join(words[: 3 if words[0] in ("developer", "diagnostics") else 2])
    failed = failing(folder, verb)
    arguments = [w for w in words[len(verb.split("-")) :] if not w.startswith("--")]
    if failed is None and verb == "apps-pull":
        source = folder / "container" / arguments[1]
        if source.is_file():
            copy_in(source, Path(arguments[2]))
        else:
            failed = (DATA / "pymobiledevice3-no-file.txt").read_text()
    if failed is not None:
        print(failed, file=sys.stderr)
        return 1
    if verb == "usbmux-list":
        print((DATA / "pymobiledevice3-list.json").read_text())
    elif verb == "apps-push":
        source = Path(arguments[1])
        copy_in(source, folder / "container" / arguments[2] / source.name)
    elif verb == "developer-dvt-launch":
        launch(folder, arguments[0].split())
        print("Process launched with pid 812")
    elif verb == "diagnostics-battery-single":
        print((DATA / "pymobiledevice3-battery.json").read_text())
    return 0


if __name__ == "__main__":
    tool = {"devicectl": devicectl, "pymobiledevice3": pymobiledevice3}[sys.argv[1]]
    container = Path(sys.argv[2])
    with (container / "calls").open("a") as calls:
        calls.write(json.dumps(sys.argv[3:]) + "\n")
    sys.exit(tool(container, sys.argv[3:]))
