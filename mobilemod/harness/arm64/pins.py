"""Every version that the emulated ARM64 root is made of."""

from __future__ import annotations

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
    "numpy==2.4.6",
    "pillow==13.0.0",
    "flatbuffers==25.12.19",
    "ml_dtypes==0.6.0",
    "protobuf==7.36.2",
    "tqdm==4.70.1",
    "typing_extensions==4.12.2",
    "backports.strenum==1.2.8",
)
# For .pte files, on request: 160 MB. PyTorch 2.10 is the last whose ARM wheel on PyPI comes without
# CUDA, and of ExecuTorch 1.4.1, the exporter, the ARM wheel needs a later one.
EXECUTORCH_WHEELS = ("executorch==1.3.1", "torch==2.10.0")

# QEMU's name of the processor. The runtimes choose their kernels by what /proc/cpuinfo says, which
# must be the same processor: QEMU's Cortex-A76 is r4p1, has the int8 dot product (asimddp) and
# neither int8 matrix products (i8mm) nor SVE.
CPU = "cortex-a76"
CPUINFO = """\
processor\t: 0
BogoMIPS\t: 48.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc \
dcpop asimddp ssbs
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

"""
# One processor, however many this machine has.
GUEST_FILES = {
    "proc/cpuinfo": CPUINFO,
    "sys/devices/system/cpu/possible": "0\n",
    "sys/devices/system/cpu/present": "0\n",
    "sys/devices/system/cpu/online": "0\n",
}
