"""Stub classes of the platform for the Kotlin compiler, from declarations published for Python.

The package `chaquopy-stubs-android` declares the API of one level with the primitive types of
parameters; it leaves open whether a class is an interface (taken from the TypeScript declarations)
and how wide a returned number is (`WIDE` has those that aren't `int` or `float`).
"""

from __future__ import annotations

import ast
import keyword
import zipfile
from collections.abc import Mapping
from pathlib import Path

from . import classfile
from .classfile import Declared, Member
from .typescript import Type, internal

PRIMITIVES = {
    "jboolean": "Z", "jbyte": "B", "jchar": "C", "jshort": "S", "jint": "I", "jlong": "J",
    "jfloat": "F", "jdouble": "D",
}  # fmt: skip
PYTHON = {"int": "I", "float": "F", "bool": "Z", "str": "Ljava/lang/String;", "None": "V"}
OBJECT = "Ljava/lang/Object;"
JAVA_INTERFACES = {
    "java/lang/Runnable", "java/lang/Comparable", "java/lang/CharSequence", "java/lang/Iterable",
    "java/lang/Cloneable", "java/lang/AutoCloseable", "java/lang/Appendable", "java/io/Closeable",
    "java/io/Serializable", "java/util/Comparator", "java/util/Iterator", "java/util/List",
    "java/util/Map", "java/util/Set", "java/util/Collection", "java/util/concurrent/Executor",
}  # fmt: skip
# Numbers that are returned, or held by a field, and aren't int or float (Android's reference).
WIDE = {
    ("android/os/SystemClock", "elapsedRealtime"): "J",
    ("android/os/SystemClock", "elapsedRealtimeNanos"): "J",
    ("android/os/SystemClock", "uptimeMillis"): "J",
    ("android/os/Bundle", "getLong"): "J",
    ("android/os/BaseBundle", "getLong"): "J",
    ("android/system/Os", "sysconf"): "J",
    ("android/app/ActivityManager$MemoryInfo", "totalMem"): "J",
    ("android/app/ActivityManager$MemoryInfo", "availMem"): "J",
    ("android/content/SharedPreferences", "getLong"): "J",
    ("android/content/pm/PackageInfo", "getLongVersionCode"): "J",
    ("android/content/res/AssetFileDescriptor", "getLength"): "J",
}
# Methods that return what the caller expects: <T extends View> T.
GENERIC = {"findViewById", "requireViewById"}


def write_jar(folder: Path, declarations: Mapping[str, Type], jar: Path) -> int:
    """Stubs of every class in `folder`'s `android-stubs` tree; returns how many."""
    interfaces = {internal(name): t for name, t in declarations.items() if t.is_interface}
    root = folder / "android-stubs"
    modules = {}
    for path in sorted(root.rglob("__init__.pyi")):
        parts = ("android", *path.parent.relative_to(root).parts)
        modules[".".join(parts)] = path
    count = 0
    with zipfile.ZipFile(jar, "w") as archive:
        for module, path in modules.items():
            for declared in _Module(module, path, interfaces).classes():
                archive.writestr(f"{declared.name}.class", classfile.write(declared))
                count += 1
    return count


class _Module:
    def __init__(self, name: str, path: Path, interfaces: Mapping[str, Type]) -> None:
        self.package = name.replace(".", "/")
        self.tree = ast.parse(path.read_text("utf-8"))
        self.interfaces = interfaces
        self.local = {n.name for n in self.tree.body if isinstance(n, ast.ClassDef)}

    def classes(self) -> list[Declared]:
        found: list[Declared] = []
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef):
                self._class(node, f"{self.package}/{node.name}", found)
        return found

    def _class(self, node: ast.ClassDef, name: str, found: list[Declared]) -> None:
        is_interface = name in self.interfaces
        access = classfile.PUBLIC | (
            classfile.INTERFACE | classfile.ABSTRACT if is_interface else classfile.SUPER
        )
        declared = Declared(name, access=access)
        found.append(declared)
        parents = []
        formal = ""
        for base in node.bases:
            if isinstance(base, ast.Subscript) and ast.unparse(base.value) == "typing.Generic":
                formal = "".join(f"{_variable(v)}:{OBJECT}" for v in _elements(base.slice))
            else:
                parents.append(self._type(base))
        for descriptor, _ in parents:
            parent = descriptor[1:-1]
            if parent in self.interfaces or parent in JAVA_INTERFACES:
                declared.interfaces.append(parent)
            elif parent != "java/lang/Object" and not is_interface:
                declared.superclass = parent
        supers = [s for d, s in parents if d[1:-1] in (declared.superclass, *declared.interfaces)]
        if formal:
            generic_super = [s for s in supers if s.startswith(f"L{declared.superclass}")]
            rest = [s for s in supers if s not in generic_super]
            formal = f"<{formal}>"
            declared.signature = (
                formal + (generic_super or [f"L{declared.superclass};"])[0] + "".join(rest)
            )
        for item in node.body:
            if isinstance(item, ast.ClassDef):
                inner = f"{name}${item.name}"
                self._class(item, inner, found)
                nested = (inner, next(d.access for d in found if d.name == inner))
                declared.nested.append(nested)
                next(d for d in found if d.name == inner).nested.append(nested)
            elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                declared.fields.append(self._field(item, name))
            elif isinstance(item, ast.FunctionDef):
                declared.methods.append(self._method(item, name, is_interface))
        if not is_interface and not any(m.name == "<init>" for m in declared.methods):
            # Not for the app to construct, but its subclasses' stubs have a super to call.
            declared.methods.append(Member("<init>", "()V", 0x4 | classfile.NATIVE))

    def _field(self, item: ast.AnnAssign, owner: str) -> Member:
        annotation = item.annotation
        access = classfile.PUBLIC
        if (
            isinstance(annotation, ast.Subscript)
            and ast.unparse(annotation.value) == "typing.ClassVar"
        ):
            annotation = annotation.slice
            access |= classfile.STATIC | classfile.FINAL
        descriptor, signature = self._type(annotation)
        wide = WIDE.get((owner, item.target.id))  # type: ignore[union-attr]
        return Member(item.target.id, wide or descriptor, access, "" if wide else signature)  # type: ignore[union-attr]

    def _method(self, node: ast.FunctionDef, owner: str, in_interface: bool) -> Member:
        is_static = any(ast.unparse(d) == "staticmethod" for d in node.decorator_list)
        arguments = [*node.args.posonlyargs, *node.args.args]
        if not is_static:
            arguments = arguments[1:]
        types = [self._type(a.annotation) for a in arguments]
        access = classfile.PUBLIC
        if node.args.vararg is not None:
            descriptor, signature = self._type(node.args.vararg.annotation)
            types.append((f"[{descriptor}", f"[{signature}"))
            access |= classfile.VARARGS
        result, generic = ("V", "V") if node.name == "__init__" else self._type(node.returns)
        result = WIDE.get((owner, node.name), result)
        generic = generic if len(result) > 1 else result
        formal = "".join(f"{v}:{OBJECT}" for v in _method_variables(types, generic, node.name))
        if node.name in GENERIC and result == "Landroid/view/View;":
            formal, generic = "T:Landroid/view/View;", "TT;"
        if is_static:
            access |= classfile.STATIC
        name = "<init>" if node.name == "__init__" else node.name
        if name.endswith("_") and keyword.iskeyword(name[:-1]):
            name = name[:-1]
        is_abstract = in_interface and not is_static and not self._is_later(owner, name, len(types))
        access |= classfile.ABSTRACT if is_abstract else classfile.NATIVE
        descriptor = f"({''.join(d for d, _ in types)}){result}"
        signature = f"({''.join(s for _, s in types)}){generic}"
        if formal:
            signature = f"<{formal}>{signature}"
        return Member(
            name, descriptor, access, signature if signature != descriptor else "",
            nullable=_is_optional(node.returns),
        )  # fmt: skip

    def _is_later(self, owner: str, name: str, arity: int) -> bool:
        """Whether an interface got the method after it was made: such ones have a default."""
        type_ = self.interfaces[owner]
        levels = [level for count, level in type_.methods.get(name, ()) if count == arity]
        return bool(levels) and min(levels) > type_.level

    def _type(self, node: ast.expr | None) -> tuple[str, str]:
        """(descriptor, generic signature)."""
        if node is None:
            return OBJECT, OBJECT
        if isinstance(node, ast.BinOp):
            return self._union(_alternatives(node))
        if isinstance(node, ast.Constant):
            return PYTHON[str(node.value)], PYTHON[str(node.value)]
        if isinstance(node, ast.Subscript):
            return self._generic(node)
        return self._named(ast.unparse(node))

    def _union(self, parts: list[ast.expr]) -> tuple[str, str]:
        names = [ast.unparse(p) for p in parts]
        for name in names:
            short = name.removeprefix("java.")
            if short in PRIMITIVES:
                return PRIMITIVES[short], PRIMITIVES[short]
        if "java.lang.String" in names:
            return PYTHON["str"], PYTHON["str"]
        real = [p for p in parts if ast.unparse(p) != "None"]
        descriptor, signature = self._type(real[0])
        if len(descriptor) == 1 and len(parts) > len(real):
            # An optional number is an object.
            descriptor = {"I": "Ljava/lang/Integer;", "Z": "Ljava/lang/Boolean;"}.get(
                descriptor, OBJECT
            )
            signature = descriptor
        return descriptor, signature

    def _generic(self, node: ast.Subscript) -> tuple[str, str]:
        base = ast.unparse(node.value)
        elements = _elements(node.slice)
        if base == "typing.Type":
            return "Ljava/lang/Class;", f"Ljava/lang/Class<{self._argument(elements[0])}>;"
        if base == "java.chaquopy.JavaArray":
            descriptor, signature = self._type(elements[0])
            return f"[{descriptor}", f"[{signature}"
        descriptor, _ = self._named(base)
        arguments = "".join(self._argument(e) for e in elements)
        return descriptor, f"{descriptor[:-1]}<{arguments}>;"

    def _argument(self, node: ast.expr) -> str:
        if ast.unparse(node) in ("java.lang.Object", "typing.Any"):
            return "*"
        _, signature = self._type(node)
        boxed = {"I": "Integer", "Z": "Boolean", "F": "Float"}
        return f"Ljava/lang/{boxed[signature]};" if signature in boxed else signature

    def _named(self, name: str) -> tuple[str, str]:
        if name in PYTHON:
            return PYTHON[name], PYTHON[name]
        if (primitive := PRIMITIVES.get(name.removeprefix("java."))) is not None:
            return primitive, primitive
        if name.startswith("_"):
            return OBJECT, f"T{_variable_name(name)};"
        short = name.removeprefix("java.chaquopy.JavaArray")
        if short != name:
            letter = PRIMITIVES[short.lower()]
            return f"[{letter}", f"[{letter}"
        parts = name.split(".")
        own = parts[0] in self.local
        inner = f"{self.package}/{'$'.join(parts)}" if own else internal(name)
        return f"L{inner};", f"L{inner};"


def _elements(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _alternatives(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp):
        return [*_alternatives(node.left), *_alternatives(node.right)]
    return [node]


def _is_optional(node: ast.expr | None) -> bool:
    return isinstance(node, ast.BinOp) and any(
        ast.unparse(p) == "None" for p in _alternatives(node)
    )


def _variable(node: ast.expr) -> str:
    return _variable_name(ast.unparse(node))


def _variable_name(name: str) -> str:
    return name.strip("_").replace("__", "_")


def _method_variables(types: list[tuple[str, str]], generic: str, method: str) -> list[str]:
    """Type variables that the method itself declares: their names carry the method's."""
    found = []
    for signature in [*(s for _, s in types), generic]:
        for part in signature.replace("<", ";").replace("[", ";").split(";"):
            name = part.lstrip("(*")[1:]
            if (
                part.lstrip("(*").startswith("T")
                and name.startswith(f"{method}_")
                and name not in found
            ):
                found.append(name)
    return found
