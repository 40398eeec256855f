"""An ARM64 processor emulated by QEMU, with a Python and LiteRT of its own, in one folder."""
