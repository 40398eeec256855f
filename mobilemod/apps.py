"""`mobilemod apps`: puts a bundle into the sample apps, which know it only by its manifest."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilemod.errors import UserError
from mobilemod.files import atomic_folder
from mobilemod.manifest import Bundle, load_bundle, write_manifest

SCHEMA = "mobilemod/apps/1"


@dataclass(frozen=True)
class App:
    """Where an app keeps its bundle, below `apps/`, and the targets that it runs.

    built: the same folder in what was built already, kept in step where that is there.
    """

    folder: str
    targets: tuple[str, ...]
    built: str | None = None


APPS = {
    "web": App("web/public/model", ("tflite",), "web/dist/model"),
    "android": App("android/app/src/main/assets/model", ("tflite", "executorch")),
    "ios": App("ios/App/Model", ("coreml", "executorch", "executorch:coreml", "coreai")),
}


def put_in_apps(path: Path, names: tuple[str, ...], root: Path | None = None) -> dict[str, Any]:
    """Copy golden images and the model files that each app runs, with a manifest of just those.

    What was there goes.
    names: of `APPS`. root: the folder `apps`, this checkout's without it. Returns the record.
    Raises `UserError` for an unknown app, a checkout without apps, and a bundle without any file
    that an app runs.
    """
    root = root or Path(__file__).parents[1] / "apps"
    unknown = [name for name in names if name not in APPS]
    if unknown or not names:
        raise UserError(f"--apps: {unknown[0] if unknown else 'none'}; known: {', '.join(APPS)}")
    missing = [name for name in names if not (root / name).is_dir()]
    if missing:
        raise UserError(f"{root} has no {missing[0]}; run this in a checkout of mobilemod")
    bundle = load_bundle(path)
    return {"schema": SCHEMA, "apps": [_put(bundle, name, root) for name in names]}


def _put(bundle: Bundle, name: str, root: Path) -> dict[str, Any]:
    app = APPS[name]
    files = [e.file for e in bundle.manifest.files if e.target in app.targets]
    if not files:
        raise UserError(
            f"{bundle.folder} has no file for the {name} app; export with "
            f"--targets {app.targets[0]}"
        )
    golden = [golden.image for golden in bundle.manifest.golden]
    folders = [root / app.folder]
    if app.built is not None and (root / app.built).parent.is_dir():
        folders.append(root / app.built)
    for folder in folders:
        with atomic_folder(folder) as new:
            for part in (*golden, *files):
                _copy(bundle.file(part), new / part)
            write_manifest(new, bundle.part(files))
    return {"app": name, "folder": str(folders[0]), "files": files}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)
