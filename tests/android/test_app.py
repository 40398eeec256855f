"""What the Android project's sources say; apps/android/test.sh compiles them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ANDROID = ROOT / "apps/android"


def versions() -> dict[str, str]:
    """`[versions]` of the project's one catalogue."""
    text = (ANDROID / "gradle/libs.versions.toml").read_text("utf-8")
    return dict(re.findall(r'^(\w+) = "(.+)"$', text, re.M))


@pytest.mark.parametrize(
    ("name", "package"), [("litert", "ai-edge-litert"), ("executorch", "executorch")]
)
def test_the_runtimes_are_those_that_write_the_files(name, package):
    lock = dict(
        re.findall(r"^([\w.-]+)==([\w.+]+)$", (ROOT / "requirements.lock").read_text(), re.M)
    )
    assert versions()[name] == lock[package]


def test_the_compiler_that_checks_is_the_one_that_builds():
    packages = json.loads((ANDROID / "check/package.json").read_text("utf-8"))["dependencies"]
    assert versions()["kotlin"] == packages["kotlin-compiler"]
    stubs = dict(
        re.findall(r"^([\w.-]+)==([\w.]+)$", (ANDROID / "check/requirements.txt").read_text(), re.M)
    )
    for name in ("activity", "core"):
        assert stubs[f"chaquopy-stubs-androidx-{name}-{name}"].startswith(f"{versions()[name]}.2")
    assert stubs["chaquopy-stubs-android"].startswith(f"{versions()['compileSdk']}.")


def test_the_gradle_wrapper_is_whole_and_pinned():
    """What `gradle wrapper` would write, with the jar that the docs state."""
    wrapper = ANDROID / "gradle/wrapper"
    text = (wrapper / "gradle-wrapper.properties").read_text("utf-8")
    properties = dict(re.findall(r"^(\w+)=(.+)$", text, re.M))
    pinned = versions()
    assert properties["distributionUrl"].endswith(f"/gradle-{pinned['gradle']}-bin.zip")
    assert properties["distributionSha256Sum"] == pinned["gradleSha256"]
    jar = (wrapper / "gradle-wrapper.jar").read_bytes()
    stated = (ROOT / "docs/apps-android.md").read_text("utf-8")
    assert hashlib.sha256(jar).hexdigest() in stated
    assert f"version {pinned['gradle']}" in (ROOT / "NOTICE").read_text("utf-8")
    for name in ("gradlew", "gradlew.bat"):
        assert "gradle-wrapper.jar" in (ANDROID / name).read_text("utf-8")
    modes = subprocess.run(
        ["git", "ls-files", "-s", "apps/android/gradlew"], cwd=ROOT, capture_output=True, text=True
    )
    assert modes.returncode != 0 or modes.stdout.startswith("100755")
    assert os.access(ANDROID / "gradlew", os.X_OK)


def test_stubs_name_their_sources():
    """Each runtime's stub says which repository, commit and file it is after."""
    stubs = ANDROID / "check/stubs"
    found = [*stubs.glob("manifests/*.xml"), *stubs.rglob("camera/**/*.java"),
             *stubs.rglob("test/**/*.java"), *stubs.glob("kotlin/[LEP]*.kt")]  # fmt: skip
    assert len(found) > 12
    for path in found:
        head = " ".join(path.read_text("utf-8").splitlines()[:3])
        assert re.search(r"\b[\w.-]+/[\w.-]+\b.* at [0-9a-f]{40}\b", head), path


def names(path: Path, tag: str, node: str | None) -> set[str]:
    """`android:name` of a manifest's elements `tag` whose `tools:node` is `node`."""
    android, tools = (f"{{http://schemas.android.com/{n}}}" for n in ("apk/res/android", "tools"))
    root = ElementTree.parse(path).getroot()
    return {e.get(f"{android}name") for e in root.iter(tag) if e.get(f"{tools}node") == node}


@pytest.mark.parametrize("tag", ["uses-permission", "instrumentation"])
def test_nothing_creeps_in_from_the_libraries(tag):
    app = ANDROID / "app/src/main/AndroidManifest.xml"
    libraries = list((ANDROID / "check/stubs/manifests").glob("*.xml"))
    brought = set().union(*(names(path, tag, None) for path in libraries))
    assert brought
    assert brought == names(app, tag, "remove")
    assert names(app, "uses-permission", None) == {"android.permission.CAMERA"}


def test_the_shrinker_passes_what_the_runtimes_name_and_lack():
    rules = (ANDROID / "app/proguard-rules.pro").read_text("utf-8")
    assert "-dontwarn com.google.android.play.core.aipacks.**" in rules.splitlines()


def test_times_are_measured_with_a_build_that_is_no_debug_one():
    build = (ANDROID / "app/build.gradle.kts").read_text("utf-8")
    benchmark = re.search(r'create\("benchmark"\) \{(.*?)\n        \}', build, re.S)[1]
    for line in ('initWith(getByName("release"))', 'signingConfigs.getByName("debug")',
                 "isDebuggable = false", "isProfileable = true"):  # fmt: skip
        assert line in benchmark
    for path in [*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "Makefile"]:
        assert "installDebug" not in path.read_text("utf-8"), path
    assert '"build" to BuildConfig.BUILD_TYPE' in (
        ANDROID / "app/src/main/kotlin/io/mobilemod/app/Phone.kt"
    ).read_text("utf-8")


def test_every_dependency_comes_from_the_catalogue():
    for path in ANDROID.glob("*/build.gradle.kts"):
        assert not re.search(r'(?:mplementation|api)\("', path.read_text("utf-8")), path


def test_the_app_knows_nothing_of_the_model():
    """No size, statistics, names or labels of the network in any source of the app."""
    manifest_facts = (
        r"\b224\b|\b192\b|0\.4(85|56|06)|0\.22[459]|0\.9\b|efficientmod|tench|imagenet|n0\d{7}"
    )
    sources = [*ANDROID.glob("app/src/main/**/*.kt"), *ANDROID.glob("app/src/main/**/*.xml"),
               *ANDROID.glob("core/src/main/**/*.kt")]  # fmt: skip
    assert len(sources) > 30
    for path in sources:
        found = re.search(manifest_facts, path.read_text("utf-8"), re.I)
        assert found is None, f"{path}: {found[0]}"


def test_every_string_is_used_and_labelled():
    resources = ANDROID / "app/src/main/res"
    names = set(
        re.findall(r'<string name="(\w+)"', (resources / "values/strings.xml").read_text("utf-8"))
    )
    used = set()
    for path in [*ANDROID.glob("app/src/main/**/*.kt"), *ANDROID.glob("app/src/main/**/*.xml")]:
        used |= set(re.findall(r"(?:R\.string\.|@string/)(\w+)", path.read_text("utf-8")))
    assert names == used
    for path in resources.glob("layout*/*.xml"):
        for tag in re.findall(
            r"<(?:ImageView|Spinner|androidx\.camera\.view\.PreviewView)[^>]*>",
            path.read_text("utf-8"),
        ):
            assert "android:contentDescription" in tag, f"{path}: {tag}"
