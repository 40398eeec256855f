"""Model Explorer itself, opened in a browser, shows the node data of a file."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.verbs.main import main
from tests.commands import ROOT
from tests.tiny_bundle import make_bundle

# Its packages aren't the project's: a virtual environment of their own is named by this.
PYTHON = os.environ.get("MODEL_EXPLORER_PYTHON", sys.executable)
PACKAGE = "ai-edge-model-explorer==0.1.34"
CHROME = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = ROOT / "apps" / "web" / "node_modules" / "playwright-core"
FLOAT, INT8 = (0xF4, 0xB6, 0xA6), (0xB7, 0xD3, 0xF2)  # of its nodes

SERVE = """
import sys, model_explorer
port, model, *data = sys.argv[1:]
config = model_explorer.config().add_model_from_path(model)
for path in data:
    config.add_node_data_from_path(path)
model_explorer.visualize_from_config(config, port=int(port), no_open_in_browser=True)
"""


def installed() -> bool:
    found = subprocess.run([PYTHON, "-c", "import model_explorer"], capture_output=True)
    return found.returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROME and DRIVER.is_dir() and installed()),
        reason=f"needs a Chromium, 'npm ci' in apps/web, and MODEL_EXPLORER_PYTHON, a Python with "
        f"{PACKAGE}",
    ),
]


def test_the_page_shows_each_ops_type_in_its_colour(tmp_path, capsys):
    file = make_bundle(tmp_path / "bundle") / "tiny_int8.tflite"
    kinds, picture = tmp_path / "kinds.json", tmp_path / "page.png"
    assert main(["inspect", str(file), "--model-explorer", str(kinds)]) == 0
    shown = opened(file, kinds, picture)
    assert "script error" not in shown and "not on the page" not in shown, shown
    rows = [line.split("\t") for line in shown.splitlines()]
    said = {row[1]: row[2] for row in rows if len(row) == 3 and row[0].isdigit()}
    assert said["fully_connected"] == "int8" and said["dequantize"] == "float32", shown
    assert said["average_pool_2d"] == "int8, outside the delegate"
    with Image.open(picture) as image:
        graph = np.asarray(image.convert("RGB"))[:, :900].reshape(-1, 3)
    counts = [int((graph == colour).all(axis=1).sum()) for colour in (INT8, FLOAT)]
    # Four int8 nodes and one float one, of about 120 x 37 pixels.
    assert counts[0] > 8_000 and counts[1] > 2_000 and 2 < counts[0] / counts[1] < 8, counts


def opened(file: Path, data: Path, picture: Path) -> str:
    """What stands on the page, which is also drawn to `picture`."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    log = picture.with_suffix(".log")
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    with log.open("wb") as out:
        server = subprocess.Popen(
            [PYTHON, "-c", SERVE, str(port), str(file), str(data)],
            stdout=out, stderr=out, cwd=picture.parent, env={**env, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    try:
        address = f"http://localhost:{port}/"
        wait_for(address, server, log)
        asked = next(word for word in log.read_text("utf-8").split() if word.startswith(address))
        done = subprocess.run(
            ["node", str(ROOT / "tests" / "e2e" / "explorer.mjs"), asked, str(picture),
             "int8 or float", "fully_connected", "int8, outside the delegate"],
            capture_output=True, text=True, timeout=300, env={**os.environ, "CHROME": CHROME},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout
    finally:
        server.kill()
        server.wait()


def wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    """Until its address is said and answers."""
    for _ in range(240):
        assert server.poll() is None, log.read_text("utf-8")
        try:
            if address in log.read_text("utf-8"):
                urllib.request.urlopen(address, timeout=5).close()
                return
        except OSError:
            pass
        time.sleep(0.25)
    raise AssertionError(f"no answer: {log.read_text('utf-8')}")
