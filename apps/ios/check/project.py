"""Checks the Xcode project without Xcode: references, files, settings, property lists, versions."""

from __future__ import annotations

import json
import plistlib
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import icon
from openstep_parser import OpenStepDecoder

REPOSITORY = Path(__file__).resolve().parents[3]
APP = REPOSITORY / "apps/ios/App"
ID = re.compile(r"[0-9A-F]{24}\Z")
# Key -> the kinds of object that it may refer to.
KINDS = {
    "buildConfigurationList": ("XCConfigurationList",),
    "buildConfigurations": ("XCBuildConfiguration",),
    "baseConfigurationReference": ("PBXFileReference",),
    "children": ("PBXFileReference", "PBXGroup", "PBXFileSystemSynchronizedRootGroup"),
    "dependencies": ("PBXTargetDependency",),
    "files": ("PBXBuildFile",),
    "fileSystemSynchronizedGroups": ("PBXFileSystemSynchronizedRootGroup",),
    "mainGroup": ("PBXGroup",),
    "package": ("XCLocalSwiftPackageReference", "XCRemoteSwiftPackageReference"),
    "packageProductDependencies": ("XCSwiftPackageProductDependency",),
    "packageReferences": ("XCLocalSwiftPackageReference", "XCRemoteSwiftPackageReference"),
    "productRef": ("XCSwiftPackageProductDependency",),
    "productRefGroup": ("PBXGroup",),
    "productReference": ("PBXFileReference",),
    "targetProxy": ("PBXContainerItemProxy",),
    "target": ("PBXNativeTarget",),
    "targets": ("PBXNativeTarget",),
}
SIMULATOR = "EXCLUDED_ARCHS[sdk=iphonesimulator*]"
PLIST_KEYS = {
    "UIFileSharingEnabled": True,
    "LSSupportsOpeningDocumentsInPlace": True,
    "ExecuTorchVersion": "$(EXECUTORCH_VERSION)",
    "CFBundleIdentifier": "$(PRODUCT_BUNDLE_IDENTIFIER)",
}


def check(app: Path = APP) -> list[str]:
    """What is wrong, one line each."""
    path = app / "Mobilemod.xcodeproj/project.pbxproj"
    try:
        project = OpenStepDecoder.ParseFromString(path.read_text("utf-8"))
    except Exception as error:
        return [f"{path.name} can't be read: {error}"]
    objects = project["objects"]
    wrong = [*_references(project, objects), *_files(app, objects), *_schemes(app, objects)]
    return wrong + [*_settings(app, objects), *_plists(app), *_products(app, objects)]


def _walk(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(key, id) of every reference in an object."""
    if isinstance(value, dict):
        for k, v in value.items():
            if ID.match(k):
                yield "attributes", k
            yield from _walk(v, k)
    elif isinstance(value, list):
        for v in value:
            yield from _walk(v, key)
    elif isinstance(value, str) and ID.match(value):
        yield key, value


def _references(project: dict[str, Any], objects: dict[str, Any]) -> Iterator[str]:
    reached, left = set(), [project["rootObject"]]
    while left:
        name = left.pop()
        if name in reached:
            continue
        reached.add(name)
        for key, target in _walk(objects.get(name, {})):
            if target not in objects:
                yield f"{name} ({objects[name]['isa']}): {key} refers to {target}, not there"
                continue
            kind = objects[target]["isa"]
            if key in KINDS and kind not in KINDS[key]:
                yield f"{name}: {key} refers to a {kind}"
            if key == "buildPhases" and not kind.endswith("BuildPhase"):
                yield f"{name}: {key} refers to a {kind}"
            left.append(target)
    for name in sorted(set(objects) - reached):
        yield f"{name} ({objects[name]['isa']}) isn't referred to"


def _files(app: Path, objects: dict[str, Any]) -> Iterator[str]:
    """Every file and folder of the tree of groups."""
    main = next(o for o in objects.values() if o["isa"] == "PBXProject")["mainGroup"]
    left = [(main, app)]
    while left:
        name, folder = left.pop()
        value = objects.get(name, {})
        place = folder / value["path"] if "path" in value else folder
        if value.get("sourceTree") == "<group>" and not place.exists():
            yield f"{place.relative_to(app)} isn't there"
        left += [(child, place) for child in value.get("children", ())]
    for value in objects.values():
        if value["isa"] == "XCLocalSwiftPackageReference":
            if not (app / value["relativePath"] / "Package.swift").is_file():
                yield f"{value['relativePath']} is no Swift package"
        elif value["isa"] == "PBXShellScriptBuildPhase":
            for script in re.findall(r"\$SRCROOT/([^\"\s]+)", value["shellScript"]):
                if not (app / script).is_file() or not (app / script).stat().st_mode & 0o100:
                    yield f"{script} isn't there or not executable"


def _products(app: Path, objects: dict[str, Any]) -> Iterator[str]:
    """Products of the local package by its manifest; each linked one is declared by its target."""
    for value in objects.values():
        if value["isa"] == "XCSwiftPackageProductDependency":
            package = objects.get(value["package"], {})
            manifest = app / package.get("relativePath", "") / "Package.swift"
            if package.get("isa") == "XCLocalSwiftPackageReference" and manifest.is_file():
                text = manifest.read_text("utf-8")
                if f'.library(name: "{value["productName"]}"' not in text:
                    yield f"{package['relativePath']} has no product {value['productName']}"
        elif value["isa"] == "PBXNativeTarget":
            linked = {
                objects[file]["productRef"]
                for phase in value["buildPhases"]
                for file in objects.get(phase, {}).get("files", ())
                if "productRef" in objects.get(file, {})
            }
            if linked != set(value.get("packageProductDependencies", ())):
                yield f"{value['name']}: linked packages aren't those that it depends on"


def _schemes(app: Path, objects: dict[str, Any]) -> Iterator[str]:
    schemes = sorted((app / "Mobilemod.xcodeproj").rglob("*.xcscheme"))
    if not schemes:
        yield "no shared scheme"
    for path in schemes:
        for reference in ElementTree.parse(path).iter("BuildableReference"):
            target = objects.get(reference.get("BlueprintIdentifier"))
            if target is None or target["name"] != reference.get("BlueprintName"):
                yield f"{path.name}: no target {reference.get('BlueprintName')}"
                continue
            product = objects[target["productReference"]]["path"]
            if product != reference.get("BuildableName"):
                yield f"{path.name}: {target['name']} builds {product}"


def settings(app: Path) -> dict[str, str]:
    """The app's: of all `.xcconfig` files, its own last."""
    found = {}
    own = app / "Config/App.xcconfig"
    for path in sorted((app / "Config").glob("*.xcconfig"), key=lambda p: (p == own, p)):
        for line in path.read_text("utf-8").splitlines():
            line = line.partition("//")[0].strip()
            if line:
                setting = re.match(r"([A-Z_0-9]+(?:\[[a-z]+=[^]]+\])?)\s*=(.*)", line)
                if not setting:
                    raise ValueError(f"{path.name}: {line}")
                found[setting[1]] = setting[2].strip()
    return found


def _settings(app: Path, objects: dict[str, Any]) -> Iterator[str]:
    try:
        values = settings(app)
    except ValueError as error:
        yield f"no setting: {error}"
        return
    for key in ("INFOPLIST_FILE", "SWIFT_OBJC_BRIDGING_HEADER"):
        if not (app / values.get(key, "none")).is_file():
            yield f"{key}: {values.get(key)} isn't there"
    yield from _icon(app, values.get("ASSETCATALOG_COMPILER_APPICON_NAME"))
    version = values.get("EXECUTORCH_VERSION")
    lock = (REPOSITORY / "requirements.lock").read_text("utf-8")
    if f"\nexecutorch=={version}\n" not in lock:
        yield f"EXECUTORCH_VERSION {version} isn't the exporter's (requirements.lock)"
    for value in objects.values():
        if value["isa"] == "XCRemoteSwiftPackageReference":
            branch = value["requirement"].get("branch")
            if branch != f"swiftpm-{version}":
                yield f"package branch {branch} isn't swiftpm-{version}"
            if "x86_64" not in values.get(SIMULATOR, "").split():
                yield f"{SIMULATOR} must name x86_64, for which ExecuTorch has no libraries"
    driver = REPOSITORY / "mobilemod/harness/drivers/iphone/tools.py"
    if driver.is_file() and f'"{values["PRODUCT_BUNDLE_IDENTIFIER"]}"' not in driver.read_text():
        yield f"{driver.name} speaks to another app than {values['PRODUCT_BUNDLE_IDENTIFIER']}"


def _icon(app: Path, name: str | None) -> Iterator[str]:
    """The app icon's picture: one PNG of 1024 x 1024 without alpha, as the App Store asks for."""
    folders = list(app.rglob(f"{name}.appiconset"))
    if not folders:
        yield f"no app icon {name}"
    for folder in folders:
        images = json.loads((folder / "Contents.json").read_text("utf-8"))["images"]
        for path in (folder / image.get("filename", "") for image in images):
            head = path.read_bytes()[:26] if path.is_file() else b""
            # Signature, IHDR's length and name, width, height, depth, colour type 2: RGB.
            if head != icon.PNG_HEAD:
                yield f"{name}: {path.name} is no RGB PNG of {icon.SIDE} x {icon.SIDE}"


def _plists(app: Path) -> Iterator[str]:
    for path in (app / "Info.plist", *app.rglob("*.xcprivacy")):
        try:
            values = plistlib.loads(path.read_bytes())
        except Exception as error:
            yield f"{path.name} is no property list: {error}"
            continue
        if path.name != "Info.plist":
            continue
        for key, value in PLIST_KEYS.items():
            if values.get(key) != value:
                yield f"Info.plist: {key} is {values.get(key)!r}, not {value!r}"
        if not values.get("NSCameraUsageDescription"):
            yield "Info.plist: no NSCameraUsageDescription, without which iOS ends the app"
        schemes = [s for t in values.get("CFBundleURLTypes", ()) for s in t["CFBundleURLSchemes"]]
        if schemes != ["mobilemod"]:
            yield f"Info.plist: URL schemes {schemes}"
    for path in app.rglob("Contents.json"):
        try:
            json.loads(path.read_text("utf-8"))
        except ValueError as error:
            yield f"{path.relative_to(app)}: {error}"


def main() -> int:
    """Print what is wrong; 1 where anything is."""
    wrong = check()
    print("\n".join(wrong) if wrong else "project file, scheme and property lists hold together")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
