"""Looks up what stubs/ declares of Apple's Objective-C and C APIs in `@nativescript/types-ios`.

Every public declaration in those files says on the line before what it is: `// = Class.member`,
`// = function`, several with commas, `@17.4` for what the app uses behind `#available`; or
`// swift` for what exists in Swift alone, which can't be looked up. Checked are the name, the
number of a method's arguments, and that it is there since the app's deployment target.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

IOS = Path(__file__).resolve().parents[1]
STUBS = IOS / "check/stubs"
TYPES = IOS / ".check/npm/node_modules/@nativescript/types-ios/lib/ios/objc-x86_64"
TARGET = 17.0
# Files whose frameworks have no Objective-C declarations to look up: the list that is taken for
# granted.
SWIFT_ONLY = ("SwiftUI", "PhotosUI", "ExecuTorch", "XCTest", "Accelerate", "CoreAI")

_CONTAINER = re.compile(r"declare (?:const enum|class|interface) (\w+)|^interface (\w+)")
_FREE = re.compile(r"declare (?:function|var|const) (\w+)\s*(\(?)(.*)")
_MEMBER = re.compile(r"\t(?:static |readonly )*(\w+)\??(\(.*\)|:.*|\s*=.*|,?$)")
_SINCE = re.compile(r"@since ([\d.]+)")
_PUBLIC = re.compile(r"^\s*(?:@\w+ )*(?:public|open) (?!extension)")


@dataclass
class Declared:
    """What the headers declare: name -> (since, number of arguments or None)."""

    names: dict[str, tuple[float, int | None]] = field(default_factory=dict)


@functools.cache
def read_types(folder: Path) -> Declared:
    """All declarations of the frameworks; members as `Class.member`."""
    found = Declared()
    for path in sorted(folder.glob("objc!*.d.ts")):
        container, level, since = "", 0.0, 0.0
        for line in path.read_text("utf-8").splitlines():
            if match := _SINCE.search(line):
                since = float(match[1].split(".")[0] + "." + (match[1].split(".") + ["0"])[1])
                continue
            if line.lstrip().startswith(("*", "/*")) or not line.strip():
                continue
            if match := _CONTAINER.search(line):
                container, level = match[1] or match[2], since
                found.names.setdefault(container, (since, None))
            elif match := _FREE.match(line):
                found.names[match[1]] = (since, _arguments(match[3]) if match[2] else None)
            elif container and (match := _MEMBER.match(line)):
                count = _arguments(match[2]) if match[2].startswith("(") else None
                found.names.setdefault(f"{container}.{match[1]}", (max(level, since), count))
            elif line.startswith("}"):
                container = ""
            since = 0.0
    return found


def _arguments(text: str) -> int:
    """Number of arguments in `(a: X, b: (p: Y) => Z): T`."""
    depth, count, seen = 0, 0, False
    for c in text.removeprefix("("):
        if c in "([{<":
            depth += 1
        elif c in ")]}" or (c == ">" and depth):
            if c == ")" and depth == 0:
                break
            depth -= 1
        elif c == "," and depth == 0:
            count += 1
        seen = seen or not c.isspace()
    return count + seen if seen else 0


def annotated(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line number, annotation, declaration) of every public declaration; "" where it says none."""
    before = ""
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if _PUBLIC.match(line):
            mark = before.strip()
            yield number, mark.removeprefix("//").strip() if mark.startswith("// ") else "", line
        if not line.strip().startswith("@"):
            before = line


def check(stubs: Path = STUBS, types: Path = TYPES) -> tuple[list[str], int, list[str]]:
    """What is wrong, how many names were found, and what exists in Swift alone."""
    declared = read_types(types)
    wrong, found, swift = [], 0, []
    for path in sorted(stubs.glob("*.swift")):
        if path.stem in SWIFT_ONLY:
            continue
        for number, mark, line in annotated(path):
            where = f"{path.name}:{number}"
            if mark == "swift":
                swift.append(f"{path.stem}: {line.strip().partition('{')[0].strip()}")
            elif not mark.startswith("= "):
                wrong.append(f"{where}: says neither what it is nor that it is Swift's")
            else:
                names, _, level = mark[2:].partition(" @")
                limit = float(level or TARGET)
                for name in names.split(", "):
                    problem = _problem(declared, name, limit, line)
                    wrong += [f"{where}: {problem}"] if problem else []
                    found += not problem
    return wrong, found, swift


def _problem(declared: Declared, name: str, limit: float, line: str) -> str | None:
    if name not in declared.names:
        return f"{name} isn't declared"
    since, count = declared.names[name]
    if since > limit:
        return f"{name} is there since {since}, later than {limit}"
    if count is not None and "(" in line and re.search(r"\b(func|init\??)\b", line):
        own = _own_arguments(line)
        # A trailing error or completion handler is Swift's throws and async.
        spare = (name.endswith(("Error", "Handler")) or " throws" in line) + 0
        if own is not None and own not in (count, count - spare):
            return f"{name} takes {count} arguments, not {own}"
    return None


def _own_arguments(line: str) -> int | None:
    """Of a declaration that stands on one line; None for one that goes on."""
    start = line.index("(")
    if line.count("(") > line.count(")"):
        return None
    return _arguments(line[start:])


def main() -> int:
    """Print what is wrong, or what was found; 1 where anything is wrong."""
    if not TYPES.is_dir():
        print(f"error: {TYPES} is missing; run apps/ios/test.sh", file=sys.stderr)
        return 2
    wrong, found, swift = check()
    if wrong:
        print("\n".join(wrong))
        return 1
    print(f"{found} names are declared as the app uses them; {len(swift)} exist in Swift alone")
    return 0


if __name__ == "__main__":
    sys.exit(main())
