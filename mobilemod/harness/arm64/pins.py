"""Every version that the emulated ARM64 root is made of."""

from __future__ import annotations

from dataclasses import dataclass

DEBIAN_MIRROR = "http://deb.debian.org/debian"
# The suite fixes QEMU at 7.2 (plugin API version 1, which icount.c declares) and Python at 3.11.
DEBIAN_SUITE = "bookworm"
EMULATOR_PACKAGES = ("qemu-user",)
GUEST_PACKAGES = ("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6")

PYTHON = "3.11"
# Wheels of Linux on 64-bit ARM up to the suite's C library, 2.36.
WHEEL_PLATFORMS = (
    "manylinux_2_34_aarch64",
    "manylinux_2_28_aarch64",
    "manylinux_2_27_aarch64",
    "manylinux2014_aarch64",
)
# As in requirements.lock: what runs here and what runs emulated is one version.
WHEELS = (
    "ai-edge-litert==2.3.0",
    "executorch==1.5.1",
    "numpy==2.4.6",
    "pillow==13.0.0",
    "flatbuffers==25.12.19",
    "ml_dtypes==0.6.0",
    "protobuf==7.36.2",
    "tqdm==4.70.1",
    "typing_extensions==4.12.2",
    "backports.strenum==1.2.8",
)
# Compiles what runs .pte files, pte.cpp, as no wheel of PyTorch for 64-bit ARM comes without CUDA:
# a C++ compiler for any processor in one wheel, with the headers that ExecuTorch was built with.
ZIG = "ziglang==0.17.1"
HEADER_PACKAGES = ("libstdc++-12-dev",)
HEADERS = ("usr/include/c++/12", "usr/include/aarch64-linux-gnu/c++/12")
ZIG_COMMAND = (
    "c++", "-target", "aarch64-linux-gnu.2.36", "-std=c++17", "-O2", "-s", "-fPIC", "-shared",
    "-nostdinc++", "-nostdlib++", "-DC10_USING_CUSTOM_GENERATED_MACROS",
)  # fmt: skip


@dataclass(frozen=True)
class Processor:
    """An emulated processor. qemu: QEMU's name of it, with what is switched off. variant, part,
    revision, features: as /proc/cpuinfo has them, by which the runtimes choose their kernels."""

    name: str
    qemu: str
    part: int
    variant: int
    revision: int
    features: str

    @property
    def cpuinfo(self) -> str:
        """The text of /proc/cpuinfo; one processor, however many this machine has."""
        return (
            f"processor\t: 0\nBogoMIPS\t: 48.00\nFeatures\t: {self.features}\n"
            "CPU implementer\t: 0x41\nCPU architecture: 8\n"
            f"CPU variant\t: {self.variant:#x}\nCPU part\t: {self.part:#x}\n"
            f"CPU revision\t: {self.revision}\n\n"
        )


V8_0 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
V8_2 = f"{V8_0} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp ssbs"
V8_6 = f"{V8_2} jscvt fcma sha3 sha512 asimdfhm dit uscat ilrcpc flagm sb dcpodp flagm2 frint " \
       "i8mm bf16"  # fmt: skip
# Without int8 dot products, with them (asimddp), and with int8 matrix products (i8mm), for which
# QEMU 7.2 has no core of its own: all that it can, without what runtimes have no int8 kernels for.
PROCESSORS = {
    p.name: p
    for p in (
        Processor("cortex-a53", "cortex-a53", 0xD03, 0, 4, V8_0),
        Processor("cortex-a76", "cortex-a76", 0xD0B, 4, 1, V8_2),
        Processor("cortex-a710", "max,sve=off,sme=off,pauth=off", 0xD47, 2, 0, V8_6),
    )
}
PROCESSOR = "cortex-a76"
GUEST_FILES = {
    "sys/devices/system/cpu/possible": "0\n",
    "sys/devices/system/cpu/present": "0\n",
    "sys/devices/system/cpu/online": "0\n",
}
