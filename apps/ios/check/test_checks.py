"""The checks find planted faults. Run by apps/ios/test.sh."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import app
import declarations
import project
import pytest
import symbols
import toolchain

APP = project.APP
PBXPROJ = "Mobilemod.xcodeproj/project.pbxproj"


@pytest.fixture
def copy(tmp_path) -> Path:
    """The app's folder with Core beside it, to be damaged."""
    shutil.copytree(APP.parent / "Core", tmp_path / "Core", ignore=shutil.ignore_patterns(".build"))
    shutil.copytree(APP, tmp_path / "App", ignore=shutil.ignore_patterns("Model"))
    return tmp_path / "App"


def replace(path: Path, old: str, new: str) -> None:
    """Change a file; fails where there is nothing to change."""
    text = path.read_text("utf-8")
    assert old in text, old
    path.write_text(text.replace(old, new, 1), "utf-8")


def test_project_is_whole(copy):
    assert project.check(copy) == []


def test_missing_file(copy):
    (copy / "Config/App.xcconfig").unlink()
    assert "Config/App.xcconfig isn't there" in project.check(copy)


@pytest.mark.parametrize(
    "file, old, new, said",
    [
        (PBXPROJ, "productRef = A00000000000000000000D03", "productRef = A00000000000000000000F03",
         "not there"),
        (PBXPROJ, "productRef = A00000000000000000000D03", "productRef = A00000000000000000000301",
         "refers to a PBXFileReference"),
        (PBXPROJ, "path = Sources;", "path = Source;", "Source isn't there"),
        (PBXPROJ, "relativePath = ../Core;", "relativePath = ../Cor;", "no Swift package"),
        (PBXPROJ, "swiftpm-1.5.1", "swiftpm-1.3.0", "swiftpm-1.3.0"),
        (PBXPROJ, "$SRCROOT/add-model.sh", "$SRCROOT/add-models.sh", "add-models.sh"),
        (PBXPROJ, "productName = MobilemodCore;", "productName = Mobile;", "no product Mobile"),
        (PBXPROJ, "				A00000000000000000000B04 /* kernels_optimized in Frameworks */,\n",
         "", "isn't referred to"),
        (PBXPROJ, "objects = {", "objects = [", "can't be read"),
        ("Config/App.xcconfig", "INFOPLIST_FILE = Info.plist", "INFOPLIST_FILE = Inf.plist",
         "INFOPLIST_FILE"),
        ("Config/Project.xcconfig", "EXECUTORCH_VERSION = 1.5.1", "EXECUTORCH_VERSION = 1.4.0",
         "isn't the exporter's"),
        ("Config/Project.xcconfig", "EXCLUDED_ARCHS[sdk=iphonesimulator*] = x86_64", "",
         "for which ExecuTorch has no libraries"),
        ("Config/Project.xcconfig", "EXCLUDED_ARCHS[sdk=iphonesimulator*]", "EXCLUDED_ARCHS",
         "for which ExecuTorch has no libraries"),
        ("Sources/Assets.xcassets/AppIcon.appiconset/Contents.json", "AppIcon.png", "Icon.png",
         "no RGB PNG"),
        ("Info.plist", "NSCameraUsageDescription", "NSCameraUsage", "NSCameraUsageDescription"),
        ("Info.plist", "<string>mobilemod</string>", "<string>mobile</string>", "URL schemes"),
        ("Info.plist", "</dict>", "", "no property list"),
        ("Mobilemod.xcodeproj/xcshareddata/xcschemes/Mobilemod.xcscheme",
         "A00000000000000000000202", "A00000000000000000000209", "no target"),
    ],
)  # fmt: skip
def test_project_faults(copy, file, old, new, said):
    replace(copy / file, old, new)
    assert any(said in line for line in project.check(copy)), project.check(copy)


def test_model_phase(tmp_path):
    """What the build phase puts into the app, but for what only Xcode compiles."""
    model, built = tmp_path / "Model", tmp_path / "built/app"
    parts = {"manifest.json", "golden/0.png", "a_int8.pte", "a_int8.aimodel/main.mlirb"}
    for part in parts:
        (model / part).parent.mkdir(parents=True, exist_ok=True)
        (model / part).write_text(part)
    environment = {
        "SRCROOT": str(tmp_path), "TARGET_BUILD_DIR": str(tmp_path / "built"),
        "UNLOCALIZED_RESOURCES_FOLDER_PATH": "app", "IPHONEOS_DEPLOYMENT_TARGET": "17.0",
        "PATH": os.environ["PATH"],
    }  # fmt: skip
    subprocess.run(["sh", str(APP / "add-model.sh")], env=environment, check=True)
    put = {p.relative_to(built / "Model").as_posix() for p in built.rglob("*") if p.is_file()}
    assert put == parts


STUB = "// = MLModel.modelDescription\npublic var modelDescription: Int { 0 }\n"


@pytest.mark.parametrize(
    "text, said",
    [
        (STUB, None),
        (STUB.replace("modelDescription\n", "modelDescriptions\n"), "isn't declared"),
        (STUB.replace("// = MLModel.modelDescription\n", "\n"), "says neither"),
        ("// = MLComputePlan.modelStructure\npublic var structure: Int { 0 }", "since 17.4"),
        ("// = MLComputePlan.modelStructure @17.4\npublic var structure: Int { 0 }", None),
        ("// = MLOptimizationHints.specializationStrategy @17.4\npublic var s: Int", "since 18.0"),
        ("// = AVCaptureSession.addInput\npublic func addInput(_ a: Int, _ b: Int) {}", "takes 1"),
        ("// = CVPixelBufferGetWidth\npublic func CVPixelBufferGetWidth() -> Int { 0 }", "takes 1"),
        ("// = MLComputeUnits.Neural\npublic enum Units { case a }", "isn't declared"),
    ],
)
def test_declaration_faults(tmp_path, text, said):
    (tmp_path / "CoreML.swift").write_text(text)
    wrong, found, _ = declarations.check(tmp_path)
    assert (wrong == [] and found == 1) if said is None else said in wrong[0]


def test_symbol_faults(tmp_path):
    if symbols.library() is None or not shutil.which("g++"):
        pytest.skip("needs the executorch package and g++")
    (tmp_path / "ThreadCount.h").write_text((symbols.SOURCE.parent / "ThreadCount.h").read_text())
    other = tmp_path / "ThreadCount.cpp"
    shutil.copy(symbols.SOURCE, other)
    replace(other, "ThreadPool* get_threadpool();", "ThreadPool* get_thread_pool();")
    replace(other, "threadpool::get_threadpool()", "threadpool::get_thread_pool()")
    missing, count = symbols.check(other)
    assert count == 3 and len(missing) == 1 and "get_thread_pool" in missing[0]


def test_type_faults(copy):
    """A wrong type, a missing await and an API that isn't declared, each in one file."""
    swift = toolchain.find()
    inside = app.IOS / ".check/planted"
    shutil.rmtree(inside, ignore_errors=True)
    shutil.copytree(copy, inside)
    view = inside / "Sources/Screens/PhotoView.swift"
    replace(view, "try await model.classifier.classify", "try model.classifier.classify")
    replace(inside / "Sources/AppModel.swift", "second, bundle?.manifest", "second, 3")
    replace(inside / "Sources/Device/Phone.swift", "ProcessInfo.processInfo.thermalState",
            "ProcessInfo.processInfo.heatState")  # fmt: skip
    said = "\n".join(app.check(swift, inside))
    shutil.rmtree(inside)
    for file in ("PhotoView.swift", "AppModel.swift", "Phone.swift"):
        assert file in said, said
