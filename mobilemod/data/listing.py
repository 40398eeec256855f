"""Which files of a data folder are images, and what is left out.

Hidden files and the folders and files that systems leave behind are passed over in silence; all
else that isn't read is counted.
"""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from mobilemod.data.image_file import IMAGE_SUFFIXES
from mobilemod.errors import UserError, shown
from mobilemod.files import irregular

# Of macOS's archives, Synology's and QNAP's disks, and Windows; in lower case.
SYSTEM_NAMES = frozenset(
    {"__macosx", "@eadir", "@synoresource", "#recycle", "@recycle", "thumbs.db", "ehthumbs.db",
     "desktop.ini", "$recycle.bin", "system volume information", "lost+found", "icon\r"}
)  # fmt: skip
MAX_SUFFIX, MAX_KINDS = 12, 8


def is_passed_over(name: str) -> bool:
    """Whether a file or folder of this name is hidden or a system's own."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def class_folders(root: Path) -> dict[str, Path]:
    """The folders in `root` by name (as `shown`), sorted; `UserError` where two are alike."""
    folders = sorted(p for p in root.iterdir() if not is_passed_over(p.name) and p.is_dir())
    named = {shown(p.name): p for p in folders}
    if len(named) < len(folders):
        raise UserError(f"{shown(root)}: two class folders are shown by the same name; rename one")
    return named


def list_images(folder: Path, nested: bool = True) -> tuple[list[Path], Counter[str]]:
    """The image files in a folder, sorted, and how many others there are by kind (".heic").

    nested: also those in folders below, by way of links too; a folder is read once, and a link that
    leads back up isn't followed.
    """
    found: list[Path] = []
    others: Counter[str] = Counter()
    own = folder.resolve()
    seen = {_identity(p.stat()) for p in (own, *own.parents)}
    todo, links = [folder], []
    while todo or links:
        # Real folders first, so that a file's name doesn't hang on the order of the links.
        for path in sorted((todo or links).pop().iterdir()):
            if is_passed_over(path.name):
                continue
            try:
                info = path.stat()
            except OSError:
                others["broken links" if path.is_symlink() else "that can't be looked at"] += 1
                continue
            if stat.S_ISDIR(info.st_mode):
                if _identity(info) in seen:
                    others["links to a folder that is read already"] += 1
                elif nested:
                    seen.add(_identity(info))
                    (links if path.is_symlink() else todo).append(path)
            elif kind := irregular(info.st_mode):
                others[f"{kind}s"] += 1
            elif path.suffix.lower() in IMAGE_SUFFIXES:
                found.append(path)
            else:
                others[shown(path.suffix.lower())[:MAX_SUFFIX] or "without a suffix"] += 1
    return sorted(found), others


def _identity(info: os.stat_result) -> tuple[int, int]:
    return info.st_dev, info.st_ino


def left_out_text(left_out: Mapping[str, int]) -> str:
    """ "3 .heic, 2 .txt", the most first."""
    kinds = sorted(left_out.items(), key=lambda kind: (-kind[1], kind[0]))
    named = [f"{count} {kind}" for kind, count in kinds[:MAX_KINDS]]
    rest = sum(count for _, count in kinds[MAX_KINDS:])
    return ", ".join([*named, f"{rest} others"] if rest else named)


def joined(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts by kind of several folders, in one."""
    return dict(sum((Counter(c) for c in counts), Counter()))


@cache
def say_left_out(root: Path, text: str) -> None:
    """Tell on stderr what wasn't read of a folder, once."""
    print(f"{shown(root)}: left out: {text}", file=sys.stderr, flush=True)
