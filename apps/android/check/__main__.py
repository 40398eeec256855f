"""`python -m check stubs|references|manifest|apk …`: what test.sh runs; see each verb's --help."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import manifest, package, platform_stubs, references, typescript
from .layouts import layout_problems

# AndroidX packages that are declared for Python; CameraX isn't.
DECLARED = ("androidx/activity/", "androidx/core/", "androidx/lifecycle/")


def main(arguments: list[str]) -> int:
    """Exit code 1 where something is named that isn't declared."""
    parser = argparse.ArgumentParser(prog="check", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    stubs = verbs.add_parser("stubs", help="platform stubs for the Kotlin compiler")
    stubs.add_argument("--out", type=Path, required=True)
    named = verbs.add_parser("references", help="what compiled classes name of the platform")
    named.add_argument("--classes", type=Path, required=True, action="append")
    named.add_argument("--min-api", type=int, required=True)
    named.add_argument("--libraries", type=Path, help="folder of the libraries' stubs, as classes")
    named.add_argument(
        "--layouts", type=Path, help="folder of resources whose views are checked too"
    )
    for verb in (stubs, named):
        verb.add_argument("--types", type=Path, required=True, help="TypeScript declarations")
        verb.add_argument(
            "--python", type=Path, required=True, help="folder of Python declarations"
        )
    merged = verbs.add_parser("manifest", help="the app's manifest with its libraries' elements")
    merged.add_argument("--app", type=Path, required=True)
    merged.add_argument("--library", type=Path, action="append", default=[])
    merged.add_argument("--package", required=True)
    merged.add_argument("--out", type=Path, required=True)
    packed = verbs.add_parser("apk", help="what an installer needs of an APK")
    packed.add_argument("--apk", type=Path, required=True)
    packed.add_argument("--manifest", type=Path, required=True, help="as `manifest` wrote it")
    args = parser.parse_args(arguments)
    if args.verb == "manifest":
        manifest.write(manifest.merge(args.app, args.library, args.package), args.out)
        return 0
    if args.verb == "apk":
        problems = package.apk_problems(args.apk, manifest.components(args.manifest))
        print("\n".join(problems) or f"{args.apk.name}: {args.apk.stat().st_size} bytes, whole")
        return 1 if problems else 0
    types = typescript.read(args.types)
    if args.verb == "stubs":
        print(f"{platform_stubs.write_jar(args.python, types, args.out)} platform classes as stubs")
        return 0
    classes = [c for folder in args.classes for c in references.load_classes(folder)]
    platform = references.Declarations(types)
    problems = references.platform_problems(classes, platform, args.min_api)
    library = references.Declarations({**types, **references.read_python(args.python)})
    more, count = references.library_problems(classes, library, DECLARED)
    problems += more
    if args.layouts:
        stubs = references.load_classes(args.libraries) if args.libraries else []
        problems += layout_problems(args.layouts, platform, {c.name for c in [*classes, *stubs]})
    used = [r for c in classes for m in c.methods for r in m.references]
    android = sum(r.owner.startswith("android/") for r in used)
    java = sum(r.owner.startswith("java/") for r in used)
    print(f"{len(classes)} classes name android.* {android}, java.* {java}, AndroidX {count} times")
    print("\n".join(problems) or f"all of it is declared from API {args.min_api} on, or guarded")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
