"""Debian packages fetched by apt and unpacked into a folder; the host's own apt is not touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mobilemod.errors import UserError
from mobilemod.harness.arm64.process import run_tool

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class Debian:
    """One suite of a Debian archive, with apt's state in `folder`.

    The state begins without any installed package, so that apt resolves all that a package needs.
    """

    folder: Path
    mirror: str
    suite: str
    architectures: tuple[str, ...]

    def update(self) -> None:
        """Fetch the package lists.

        Raises `UserError` where apt or Debian's keys are missing or the archive can't be reached.
        """
        if not KEYRING.is_file():
            raise UserError(
                f"{KEYRING} is missing, so Debian's packages can't be checked; "
                "install 'debian-archive-keyring'"
            )
        for name in ("lists/partial", "cache/archives/partial"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()
        (self.folder / "sources.list").write_text(
            f"deb [signed-by={KEYRING}] {self.mirror} {self.suite} main\n"
        )
        (self.folder / "apt.conf").write_text(self._configuration())
        # Else apt takes a list that can't be fetched for a warning.
        self._apt("update", "-o", "APT::Update::Error-Mode=any")

    def fetch(self, packages: Sequence[str], architecture: str, into: Path) -> list[Path]:
        """Download packages and all they depend on; the `.deb` files, sorted.

        What is in `into` already and unchanged is not fetched again.
        """
        (into / "partial").mkdir(parents=True, exist_ok=True)
        names = [f"{name}:{architecture}" for name in packages]
        install = ("install", "--no-install-recommends", "--yes", "--quiet", "--quiet")
        # Asked of an empty cache: what is already there would not be listed.
        listed = self._apt(*install, "--print-uris", *names)
        # One line per package: 'URI' FILE SIZE SUM
        files = [line.split()[1] for line in listed.splitlines() if line.startswith("'")]
        archives = ("-o", f"Dir::Cache::archives={into.resolve()}")
        self._apt(*install, *archives, "--download-only", *names)
        return sorted(into / file for file in files)

    def fetch_alone(self, package: str, architecture: str, into: Path) -> Path:
        """Download a package without what it depends on; the `.deb` file."""
        name = f"{package}:{architecture}"
        (line,) = self._apt("download", "--print-uris", name).splitlines()
        self._apt("download", "--quiet", "--quiet", name, cwd=into)
        return into / line.split()[1]

    def _configuration(self) -> str:
        # The host's way to the network (a proxy, say) holds here too; nothing else of it does.
        dump = ["apt-config", "dump", "--no-empty", "--format", '%F "%v";%n', "Acquire"]
        architectures = " ".join(f'"{a}";' for a in self.architectures)
        folder = self.folder.resolve()
        return (
            f'Dir::Etc::parts "/dev/null";\n'
            f'Dir::Etc::main "/dev/null";\n'
            f'Dir::Etc::sourcelist "{folder}/sources.list";\n'
            f'Dir::Etc::sourceparts "/dev/null";\n'
            f'Dir::Etc::preferences "/dev/null";\n'
            f'Dir::Etc::preferencesparts "/dev/null";\n'
            f'Dir::State "{folder}";\n'
            f'Dir::State::status "{folder}/status";\n'
            f'Dir::Cache "{folder}/cache";\n'
            f'APT::Architecture "{self.architectures[0]}";\n'
            f"APT::Architectures {{ {architectures} }};\n"
            # Without this apt drops to a user who may not be able to write here.
            f'APT::Sandbox::User "";\n'
            f"{run_tool(dump)}"
            f'Acquire::Languages "none";\n'
            f'Acquire::GzipIndexes "true";\n'
        )

    def _apt(self, *arguments: str, cwd: Path | None = None) -> str:
        configuration = str((self.folder / "apt.conf").resolve())
        return run_tool(["apt-get", *arguments], cwd, APT_CONFIG=configuration)


def host_architecture() -> str:
    """Debian's name of this machine's architecture, such as "amd64"."""
    return run_tool(["dpkg", "--print-architecture"]).strip()


def unpack(packages: Sequence[Path], into: Path) -> None:
    """Unpack `.deb` files over each other; no script of theirs runs."""
    for package in packages:
        run_tool(["dpkg-deb", "--extract", str(package), str(into)])
