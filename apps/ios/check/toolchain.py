"""A Swift compiler for the checks: the one on the PATH, else Debian's, unpacked into a folder.

`python apps/ios/check/toolchain.py` sets it up (once: 540 MB fetched by apt, 1.6 GB unpacked);
nothing is installed on the machine. It runs in a root of its own, by `unshare` and `chroot`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPOSITORY))

from mobilemod.errors import UserError  # noqa: E402
from mobilemod.files import atomic_folder, only_one, write_text  # noqa: E402
from mobilemod.harness.arm64.debian import Debian, host_architecture  # noqa: E402

MIRROR = "http://deb.debian.org/debian"
# The first stable suite with Swift: 6.0.3 with Foundation, XCTest and the package manager.
SUITE = "trixie"
VERSION = "6.0.3"
PACKAGES = ("swiftlang", "libc6-dev", "libstdc++-14-dev")
# What no check needs: the debugger, the editor's server, static libraries, documentation.
LEFT_OUT = (
    "./usr/libexec/swift/lib/liblldb*", "./usr/libexec/swift/bin/lldb*",
    "./usr/libexec/swift/lib/libsourcekitdInProc.so", "./usr/libexec/swift/bin/sourcekit-lsp",
    "./usr/libexec/swift/bin/clangd", "./usr/libexec/swift/lib/swift_static",
    "./usr/libexec/swift/lib/libLTO*", "./usr/share/doc", "./usr/share/man", "./usr/share/info",
)  # fmt: skip
LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}
BIN = "/usr/libexec/swift/bin"
STAMP = "toolchain.json"
# In a mount namespace of its own: folders under their own paths, the host's /dev and /proc.
ENTER = """
root=$1 count=$2; shift 2
mount --rbind /dev "$root/dev" && mount --rbind /proc "$root/proc" || exit 125
while [ "$count" -gt 0 ]; do
  mount --bind "$1" "$root$1" || exit 125
  shift; count=$((count - 1))
done
exec chroot "$root" "$@"
"""


def home() -> Path:
    """Where the toolchain is kept."""
    return Path(os.environ.get("MOBILEMOD_SWIFT", REPOSITORY / ".swift"))


@dataclass(frozen=True)
class Toolchain:
    """A Swift that runs. root: None for the one on the PATH."""

    root: Path | None

    def command(
        self, tool: str, arguments: Sequence[str], folders: Sequence[Path] = ()
    ) -> list[str]:
        """How to start `swiftc`, `swift-build`, … or a program that it built (a path).

        folders: absolute, that it needs beside the repository.
        """
        if self.root is None:
            if tool.startswith("swift-"):
                return ["swift", tool.removeprefix("swift-"), *arguments]
            return [tool, *arguments]
        target = tool if "/" in tool else f"{BIN}/{tool}"
        seen = [str(folder) for folder in (REPOSITORY, *folders)]
        for folder in seen:
            (self.root / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
        namespace = ["unshare", "--mount"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
        return [
            *namespace, "sh", "-c", ENTER, "sh", str(self.root), str(len(seen)), *seen,
            target, *arguments,
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Of what is started."""
        if self.root is None:
            return dict(os.environ)
        path = f"{BIN}:/usr/bin:/usr/sbin:/sbin:/bin"
        return {"PATH": path, "HOME": "/tmp", "LANG": "C.UTF-8"}

    def run(self, tool: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run to the end; standard output and errors together as `stdout`."""
        return subprocess.run(
            self.command(tool, arguments), env=self.environment(), text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def version(self) -> str:
        """The compiler's own first line; `UserError` where it doesn't run."""
        done = self.run("swiftc", ["--version"])
        if done.returncode:
            raise UserError(f"Swift doesn't run here: {done.stdout.strip()[-300:]}")
        return done.stdout.splitlines()[0]


def find() -> Toolchain:
    """A Swift that is ready; `UserError` says how to get one."""
    if shutil.which("swift") and shutil.which("swiftc"):
        return Toolchain(None)
    if (home() / STAMP).is_file():
        return Toolchain(home() / "root")
    raise UserError("no Swift compiler: install one (5.10 or later), or run 'make swift'")


def set_up() -> Toolchain:
    """Fetch and unpack where there is none yet.

    Raises `UserError` where apt is missing, the archive can't be reached or the result doesn't run.
    """
    if shutil.which("swift") and shutil.which("swiftc"):
        return Toolchain(None)
    folder = home()
    folder.mkdir(parents=True, exist_ok=True)
    stamp = {"suite": SUITE, "packages": list(PACKAGES), "left_out": list(LEFT_OUT)}
    with only_one(folder, "setting up"):
        if (folder / STAMP).is_file() and json.loads((folder / STAMP).read_text()) == stamp:
            return Toolchain(folder / "root")
        (folder / STAMP).unlink(missing_ok=True)
        architecture = host_architecture()
        archive = Debian(folder / "downloads/apt", MIRROR, SUITE, (architecture,))
        _say(f"package lists of Debian {SUITE}")
        archive.update()
        _say(f"Swift {VERSION}: 540 MB")
        packages = archive.fetch(PACKAGES, architecture, folder / "downloads/packages")
        _say("unpacking")
        with atomic_folder(folder / "root") as root:
            for package in packages:
                _unpack(package, root)
            for name, target in LINKS.items():
                if not (root / name).exists():
                    (root / name).symlink_to(target)
            for name in ("dev", "proc", "tmp"):
                (root / name).mkdir(exist_ok=True)
        shutil.rmtree(folder / "downloads")
        toolchain = Toolchain(folder / "root")
        _say(toolchain.version())
        write_text(folder / STAMP, json.dumps(stamp, indent=1) + "\n")
        return toolchain


def _unpack(package: Path, root: Path) -> None:
    """Without what is left out; no script of the package runs."""
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE
    ) as tar:
        excludes = [f"--exclude={pattern}" for pattern in LEFT_OUT]
        done = subprocess.run(
            ["tar", "--extract", "--no-same-owner", "--directory", str(root), *excludes],
            stdin=tar.stdout, check=False,
        )  # fmt: skip
    if tar.returncode or done.returncode:
        raise UserError(f"{package} can't be unpacked; is the disk full?")


def _say(text: str) -> None:
    print(f"swift: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Set up, and print the version."""
    try:
        print(set_up().version())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
