"""The iOS app's Swift core runs whole jobs: real models and images, cut off and gone on with.

`harness-run` is Core's own runner as a command; what a phone has beside it (decoders, runtimes)
is answered by this process over pipes.
"""

# The harness may not be there yet, so that it can't stand among the first imports.
# ruff: noqa: E402, I001
from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

session = pytest.importorskip("mobilemod.harness.run.session")
# Building the core takes a minute.
pytestmark = pytest.mark.slow

from mobilemod.data.imagefolder import read_folder, read_split
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.harness.drivers import DeviceLost
from mobilemod.harness.drivers.host import HostDriver
from mobilemod.harness.run.job_build import Plan, build_job
from mobilemod.harness.worker.runtimes import load_pte
from mobilemod.manifest import load_bundle, seal_bundle
from tests.manifests import manifest_values, model_entry

ROOT = Path(__file__).parents[2]
ORIENTATION = 0x0112
sys.path.insert(0, str(ROOT / "apps/ios/check"))


class SwiftCore(HostDriver):
    """A driver whose device is `harness-run`. shape: of an image, channels first. kill_after:
    decoded images, once; None for never."""

    def __init__(self, toolchain, root: Path, shape, kill_after: int | None = None):
        self.toolchain, self.root, self.kill_after = toolchain, root, kill_after
        self.shape = shape
        self.models: list = []

    def suffixes(self):
        return (".pte",)

    def run(self, folder, resume, receive):
        import core

        place = self.root / "jobs" / folder.job.id
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(folder.folder.resolve())
        arguments = [str(self.root), folder.job.id]
        command = self.toolchain.command(str(core.HARNESS_RUN), arguments, [self.root.parent])
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.toolchain.environment()
        ) as process:
            self.serve(process)
        receive((self.root / f"records/{folder.job.id}.jsonl").read_bytes())
        if process.returncode < 0:
            raise DeviceLost("killed")
        if process.returncode:
            raise UserError(f"harness-run ended with {process.returncode}")

    def serve(self, process):
        decoded = 0
        while line := process.stdout.readline():
            asked = json.loads(line)
            payload = process.stdout.read(asked["bytes"])
            if asked["op"] == "decode":
                decoded += 1
                if decoded == self.kill_after:
                    self.kill_after = None
                    process.kill()
                    return
            head, data = self.answer(asked, payload)
            process.stdin.write(json.dumps({**head, "bytes": len(data)}).encode() + b"\n" + data)
            process.stdin.flush()

    def answer(self, asked, payload):
        if asked["op"] == "decode":
            try:
                image = Image.open(io.BytesIO(payload))
                orientation = image.getexif().get(ORIENTATION, 1)
                image = image.convert("RGB")
            except OSError as error:
                return {"error": str(error)}, b""
            size = {"width": image.width, "height": image.height, "orientation": orientation}
            return size, image.tobytes()
        if asked["op"] == "load":
            self.models.append(load_pte(Path(asked["path"]), asked["threads"]))
            return {"model": len(self.models) - 1, "runtime": self.models[-1].description}, b""
        x = np.frombuffer(payload, np.float32)
        model = self.models[asked["model"]]
        logits = model.infer(model.prepare(x.reshape(1, *self.shape)))
        return {}, logits.astype("<f4").tobytes()


@pytest.fixture(scope="module")
def toolchain():
    """A Swift compiler, with Core built by it."""
    import core
    from toolchain import find

    try:
        found = find()
    except UserError as error:
        pytest.skip(str(error))
    assert core.build(found, "--product", "harness-run") == ""
    return found


def lines_of(path, job, kind):
    """The new lines of a type, by (configuration, image)."""
    found, reader, _, impossible = session.read_lines(path, job)
    assert impossible == 0 and reader.counts["damaged"] <= 1
    return {(s["configuration"], s["image"]): s for s in found if s.type == kind}


def check_bundle(bundle: Path, images, toolchain, work: Path, kill_after: int | None) -> int:
    """Swift's answers on a bundle are Python's, bit for bit; returns how many there are."""
    loaded = load_bundle(bundle)
    driver = SwiftCore(toolchain, work / "root", loaded.preprocess.shape, kill_after)
    plan = Plan(latency=None)
    built = build_job(loaded, images, driver, plan, work / "job")
    out = {name: work / name for name in ("swift", "python")}
    for name, device in (("swift", driver), ("python", PteHost())):
        out[name].mkdir()
        run = session.Session(device, built.folder, out[name], pauses=(0, 0, 0)).run()
        assert run.complete, run.reason
    answers = {
        name: lines_of(path / session.LINES_FILE, built.folder.job, "image")
        for name, path in out.items()
    }
    assert answers["swift"].keys() == answers["python"].keys()
    for key, line in answers["python"].items():
        assert answers["swift"][key]["logits_sha256"] == line["logits_sha256"], key
        assert answers["swift"][key]["top"] == line["top"], key
    golden = [
        lines_of(path / session.LINES_FILE, built.folder.job, "golden") for path in out.values()
    ]
    assert golden[0].keys() == golden[1].keys() and golden[0]
    for key in golden[0]:
        assert golden[0][key]["logits"] == pytest.approx(golden[1][key]["logits"], abs=1e-6)
    return len(answers["swift"])


class PteHost(HostDriver):
    """Python's own device side, on the same files."""

    def suffixes(self):
        return (".pte",)


def tiny_bundle(folder: Path, preprocess: Preprocess, labels: list[str]) -> Path:
    """A bundle whose network is a grid of averages and one layer, as a real `.pte` file."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from torch import nn

    torch.manual_seed(preprocess.height)
    grid = nn.AvgPool2d((preprocess.height // 8, preprocess.width // 8))
    network = nn.Sequential(grid, nn.Flatten(), nn.Linear(192, len(labels))).eval()
    program = torch.export.export(network, (torch.zeros(1, *preprocess.shape),))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    folder.mkdir()
    (folder / "golden").mkdir()
    file = folder / "tiny_float32.pte"
    file.write_bytes(lowered.to_executorch().buffer)
    pixels = np.random.default_rng(0).integers(0, 256, (*preprocess.sides, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "golden/0.png")
    runner = load_pte(file)
    logits = runner.infer(runner.prepare(preprocess.normalize(pixels[None])))
    files = [model_entry(file, "executorch", "float32")]
    golden = [{"image": "golden/0.png", "origin": "drawn", "target": None,
               "logits": {file.name: [float(v) for v in logits]}}]  # fmt: skip
    named = [{"id": s, "label": s} for s in labels]
    more = {"files": files, "golden": golden}
    seal_bundle(folder, manifest_values("tiny", named, preprocess.to_dict(), **more))
    return folder


def draw_images(root: Path, labels: list[str]):
    """Odd sizes, grey, alpha, every orientation, and a file that is no image."""
    rng = np.random.default_rng(3)
    for number in range(12):
        folder = root / labels[number % len(labels)]
        folder.mkdir(parents=True, exist_ok=True)
        shape = (40 + 37 * number % 211, 50 + 53 * number % 307)
        mode, channels = (("L", ()), ("RGB", (3,)), ("RGBA", (4,)))[number % 3]
        image = Image.fromarray(rng.integers(0, 256, shape + channels, np.uint8), mode)
        exif = Image.Exif()
        exif[ORIENTATION] = 1 + number % 8
        image.save(folder / f"{number}.{'png' if mode == 'RGBA' else 'jpg'}", exif=exif)
    (root / labels[0] / "broken; rm -rf '$HOME'.jpg").write_bytes(b"\xff\xd8\xff no image")
    return read_folder(root, tuple(labels), len(labels))


@pytest.mark.parametrize(
    "size, fit, classes, kill_after",
    [(192, "crop", 3, None), (96, "crop", 7, 9), ((64, 96), "crop", 3, None),
     ((96, 64), "stretch", 3, None)],
)  # fmt: skip
def test_bundle_that_changed(toolchain, tmp_path, size, fit, classes, kill_after):
    """Other pixels, classes and resampling are followed; one run is killed at its ninth image."""
    labels = [f"class{i}" for i in range(classes)]
    preprocess = Preprocess(size, 0.8, "bilinear", fit=fit)
    bundle = tiny_bundle(tmp_path / "bundle", preprocess, labels)
    images = draw_images(tmp_path / "images", labels)
    assert check_bundle(bundle, images, toolchain, tmp_path, kill_after) == 12


@pytest.fixture(scope="module")
def exported(export, tmp_path_factory):
    """The bundled network's `.pte` files."""
    out = tmp_path_factory.mktemp("ios") / "bundle"
    export(out, "--targets", "executorch")
    return out


def test_real_bundle(toolchain, data_dir, tmp_path, exported):
    """200 real images through both files, cut off in the middle of the first and gone on with."""
    bundle = load_bundle(exported)
    ids = bundle.label_ids
    images = read_split(data_dir, "val", ids, len(ids)).spread(200)
    assert check_bundle(exported, images, toolchain, tmp_path, 120) == 400
