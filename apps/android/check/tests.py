"""The checks' own tests, with planted mistakes: `python3 -m unittest check.tests`.

CHECK_TYPES, CHECK_STUBS and CHECK_LIBRARIES say where test.sh has put the declarations, the stubs
of the platform and those of the libraries.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import textwrap
import unittest
import zipfile
from pathlib import Path

from . import classfile, manifest, package, typescript
from .layouts import layout_problems
from .references import Declarations, Reference, arity, load_classes, platform_problems

LEAST = 26
# One class a case; `Fake` stands for a stub with mistakes in it, which would let them through.
SOURCES = {
    "android/widget/TextView.java": """
        package android.widget;
        public class TextView {
            public void setText(CharSequence text) {}
            public void setText(CharSequence text, int a, int b, int c, int d) {}
            public void setTexture(CharSequence text) {}
            public int length;
        }""",
    "planted/Cases.java": """
        package planted;
        import android.os.*;
        import android.widget.TextView;
        import androidx.annotation.RequiresApi;
        class Right {
            static void f(PowerManager p, TextView v) { v.setText("a"); p.isInteractive(); }
        }
        class NewerCall {
            static int f(PowerManager p) { return p.getCurrentThermalStatus(); }
        }
        class NewerClass {
            static Object f() { return android.graphics.ImageDecoder.class; }
        }
        class NewerJava {
            static String f() { return "a".strip(); }
        }
        class Annotated {
            @RequiresApi(29) static int f(PowerManager p) { return p.getCurrentThermalStatus(); }
        }
        class AnnotatedTooLow {
            @RequiresApi(28) static int f(PowerManager p) { return p.getCurrentThermalStatus(); }
        }
        class Unguarded {
            @RequiresApi(29) static int g(PowerManager p) { return p.getCurrentThermalStatus(); }
            static int f(PowerManager p) { return g(p); }
        }
        class Guarded {
            @RequiresApi(29) static int g(PowerManager p) { return p.getCurrentThermalStatus(); }
            static int f(PowerManager p) { return Build.VERSION.SDK_INT >= 29 ? g(p) : 0; }
        }
        class WrongNames {
            static int f(TextView v) {
                v.setText("a", 1, 2, 3, 4);
                v.setTexture("a");
                return v.length;
            }
        }
        class Instructions {
            static Object f(int a, long[][] b) {
                switch (a) { case 1: return "x"; case 2: return "y"; case 3: return "z"; }
                switch (a) { case 100: return 1; case 90000: return 2.0; }
                for (int i = 0; i < 70000; i += 300) b = new long[3][4];
                return b instanceof Object ? (Object) b : android.os.Process.myPid();
            }
        }""",
}


def compile_java(sources: dict[str, str], folder: Path, class_path: str) -> Path:
    """Class files of Java sources by path."""
    out = folder / "classes"
    paths = []
    for name, text in sources.items():
        path = folder / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        paths.append(str(path))
    command = ["javac", "-nowarn", "-proc:none", "-cp", class_path, "-d", str(out), *paths]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return out


class Planted(unittest.TestCase):
    """Mistakes put into Java classes are found, and their right forms aren't."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.declared = Declarations(typescript.read(Path(os.environ["CHECK_TYPES"])))
        stubs = os.pathsep.join((os.environ["CHECK_LIBRARIES"], os.environ["CHECK_STUBS"]))
        with tempfile.TemporaryDirectory() as folder:
            compiled = load_classes(compile_java(SOURCES, Path(folder), stubs) / "planted")
        cls.classes = {c.name.removeprefix("planted/"): c for c in compiled}

    def problems(self, name: str) -> list[str]:
        return platform_problems([self.classes[name]], self.declared, LEAST)

    def test_right_calls_pass(self) -> None:
        for name in ("Right", "Annotated", "Guarded", "Instructions"):
            self.assertEqual(self.problems(name), [], name)

    def test_newer_calls_and_classes_are_found(self) -> None:
        expected = {
            "NewerCall": "PowerManager.getCurrentThermalStatus came with API 29",
            "NewerClass": "android/graphics/ImageDecoder came with API 28",
            "NewerJava": "java/lang/String.strip",
            "AnnotatedTooLow": "PowerManager.getCurrentThermalStatus came with API 29",
            "Unguarded": "Unguarded.g needs API 29, and SDK_INT isn't asked for",
        }
        for name, text in expected.items():
            problems = self.problems(name)
            self.assertEqual(len(problems), 1, (name, problems))
            self.assertIn(text, problems[0])

    def test_wrong_names_and_arity_are_found(self) -> None:
        problems = self.problems("WrongNames")
        self.assertEqual(len(problems), 3, problems)
        self.assertIn("setText with 5 parameters isn't declared", problems[0])
        self.assertIn("setTexture with 1 parameters isn't declared", problems[1])
        self.assertIn("TextView.length isn't declared", problems[2])

    def test_every_instruction_has_its_length(self) -> None:
        # Switches of both kinds, wide constants, arrays of arrays: the method reads to its end.
        method = next(m for m in self.classes["Instructions"].methods if m.name == "f")
        self.assertIn(
            Reference("android/os/Process", "myPid", "()I", True, True), method.references
        )

    def test_layouts(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            layout = Path(folder) / "layout"
            layout.mkdir()
            (layout / "a.xml").write_text(
                "<LinearLayout><TextVeiw/><a.B/><a.C/><include/></LinearLayout>"
            )
            found = layout_problems(Path(folder), self.declared, {"a/B"})
        self.assertEqual([p.rsplit(" ", 1)[-1] for p in found], ["TextVeiw", "a.C"])


class Packaging(unittest.TestCase):
    """What an APK or a merged manifest has too much or lacks is named."""

    def test_a_library_brings_what_the_app_does_not_remove(self) -> None:
        space = 'xmlns:android="http://schemas.android.com/apk/res/android"'
        tools = 'xmlns:tools="http://schemas.android.com/tools"'
        own = '<uses-permission android:name="A" tools:node="remove"/>'
        with tempfile.TemporaryDirectory() as folder:
            app, library = Path(folder) / "app.xml", Path(folder) / "library.xml"
            app.write_text(
                f"<manifest {space} {tools}>{own}"
                '<application><activity android:name=".Main"/></application></manifest>'
            )
            library.write_text(
                f'<manifest {space}><uses-permission android:name="A"/>'
                '<uses-permission android:name="B"/><application/></manifest>'
            )
            merged = manifest.merge(app, [library], "a.b")
            self.assertEqual(manifest.named(merged, "uses-permission"), ["B"])
            manifest.write(merged, app)
            self.assertEqual(manifest.components(app), ["a.b.Main"])

    def test_an_apk_that_no_phone_takes(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "app.apk"
            with zipfile.ZipFile(path, "w") as apk:
                apk.writestr("AndroidManifest.xml", b"")
                apk.writestr("resources.arsc", b"1234", zipfile.ZIP_DEFLATED)
                apk.writestr("a.tflite", b"1234")
            found = package.apk_problems(path, ["a.b.Main"])
        self.assertEqual(
            found,
            ["classes.dex is missing", "resources.arsc is compressed",
             "a.tflite isn't aligned to 4 bytes", "no dex file has a.b.Main"],
        )  # fmt: skip
        with self.assertRaises(ValueError):
            package.dex_classes(b"\0" * 40)


class Parsers(unittest.TestCase):
    """Declarations and descriptors are read as they are meant."""

    def test_declarations(self) -> None:
        text = """\
declare module android {
\texport module os {
\t\t/** @since 21 */
\t\texport class Thing<T>  extends java.lang.Object implements android.os.Other<T> {
\t\t\tpublic static LIMIT: 3;
\t\t\t/** @since 30 */
\t\t\tpublic level: number;
\t\t\t/** @since 29 */
\t\t\tpublic go(a: number, f: (b: number, c: string) => void, d: java.util.Map<string,any>): void;
\t\t\tpublic go(): void;
\t\t}
\t}
}
"""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.d.ts"
            path.write_text(text)
            thing = typescript.read(path)["android.os.Thing"]
        self.assertEqual(thing.methods, {"go": [(3, 29), (0, 0)]})
        self.assertEqual(thing.fields, {"LIMIT": 0, "level": 30})
        self.assertEqual((thing.level, thing.parents[-1]), (21, "android.os.Other"))

    def test_arity(self) -> None:
        self.assertEqual([arity(d) for d in ("()V", "(I[JLa/B;[[Lc/D;Z)I", "([[D)V")], [0, 5, 1])

    def test_written_classes_are_read(self) -> None:
        declared = classfile.Declared("a/B", "a/C", ["a/D"], methods=[classfile.Member("f", "()V")])
        compiled = classfile.read(classfile.write(declared))
        self.assertEqual(
            (compiled.name, compiled.superclass, compiled.interfaces), ("a/B", "a/C", ["a/D"])
        )
        self.assertEqual([m.name for m in compiled.methods], ["f"])
        with self.assertRaises(ValueError):
            classfile.read(b"\0" * 40)


if __name__ == "__main__":
    unittest.main()
