"""What the Android project's sources say; apps/android/test.sh compiles them."""

from __future__ import annotations

import json
import re
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


def test_the_gradle_distribution_is_pinned():
    text = (ANDROID / "gradle/wrapper/gradle-wrapper.properties").read_text("utf-8")
    assert re.search(r"^distributionSha256Sum=[0-9a-f]{64}$", text, re.M)
    assert "gradle-9.3.1-bin.zip" in text


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
