from __future__ import annotations


def write_pages(folder, manifest):
    return folder / "report.html"
