"""Networks that users bring: opened whole, or refused in one line that says what is wrong."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from export.quiet import quiet
from export.source import source_of
from export.verbs.network_options import network_options, opened_of
from export.verbs.parser import Parser
from mobilemod.data.classes import ClassNames
from mobilemod.data.dataset import DataSet
from mobilemod.data.imagefolder import imagenet_synsets
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.networks.foreign.factory import open_function
from mobilemod.networks.foreign.hugging_face import open_folder, take_rgb
from mobilemod.networks.foreign.labels import labels_of
from mobilemod.networks.foreign.opened import Asked
from mobilemod.networks.foreign.processor import measured
from mobilemod.networks.registry import preprocess_of

CLASSES = 5
MINE = """
import torch
from torch import nn

class Tiny(nn.Module):
    def __init__(self, channels=3):
        super().__init__()
        self.stem = nn.Conv2d(channels, 4, 3, 2)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 5)
    def forward(self, x):
        return self.head(self.norm(self.stem(x)).relu().mean((2, 3)))

class Among(Tiny):
    def forward(self, x):
        return {"features": x, "logits": super().forward(x)}

class Alone(Tiny):
    def forward(self, x):
        return {"answer": super().forward(x), "more": None}

class Pair(Tiny):
    def forward(self, x):
        return x, x

class Keys(Tiny):
    def forward(self, x):
        return {"a": x, "b": x}

class Map(Tiny):
    def forward(self, x):
        return self.stem(x)

class Indices(Tiny):
    def forward(self, x):
        return super().forward(x).round().long()

class Masked(Tiny):
    def forward(self, x, mask):
        return x

class Optional(Tiny):
    def forward(self, x, mask=None):
        return super().forward(x)

class Sized(Tiny):
    def forward(self, x):
        return super().forward(x + torch.zeros(48, 48))

ready = Tiny()
def make(): return Tiny().train().half()
def compiled(): return torch.compile(Tiny())
def spread(): return nn.DataParallel(Tiny())
def scripted(): return torch.jit.script(Tiny())
def grey(): return Tiny(1)
def four(): return Tiny(4)
def flat(): return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 7))
def wants(number): return Tiny()
def nothing(): pass
def leaves(): raise SystemExit("gone")
def breaks():
    try:
        {}["inner"]
    except KeyError as error:
        raise RuntimeError("outer") from error
def infinite():
    net = Tiny()
    net.head.bias.data[0] = float("inf")
    return net
def empty():
    net = Tiny()
    net.head = torch.nn.Linear(4, 5, device="meta")
    return net
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current directory, with a user's modules."""
    for name, text in (
        ("mine_nets", MINE),
        ("mine_broken", "import mine_nets\nx = unknown_name\n"),
        ("mine_lacking", "import not_there_at_all\n"),
    ):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def refused(of, *args, **more) -> str:
    """The line with which a call is refused; it is one."""
    with pytest.raises(UserError) as error:
        of(*args, **more)
    assert "\n" not in str(error.value)
    return str(error.value)


def logits(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        output = module(x)
    return getattr(output, "logits", output)


# -- a function


def test_a_function_gives_its_network_ready_to_be_compiled(here):
    opened = open_function("mine_nets:make", asked=Asked(size=40))
    module = opened.module
    assert (opened.name, opened.source, opened.num_classes) == ("make", "mine_nets:make", 5)
    assert opened.input_shape == (1, 3, 40, 40) and opened.labels == ()
    assert not module.training and not any(p.requires_grad for p in module.parameters())
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert [(path.name, len(digest)) for path, digest in opened.files] == [("mine_nets.py", 64)]
    assert opened.notes == (
        "assumed, as nothing is said: crop_fraction 0.9, interpolation bicubic, "
        "fit crop, mean (0.485, 0.456, 0.406), std (0.229, 0.224, 0.225)",
    )
    # Start values are the same every time, and the caller's random numbers stay where they were.
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    again = open_function("mine_nets:make", asked=Asked(size=40)).module
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(again.head.weight, module.head.weight)


COMPILED = pytest.param("compiled", marks=pytest.mark.slow)  # importing the compiler is slow


@pytest.mark.parametrize(
    "what", ["Tiny", "ready", COMPILED, "spread", "Optional", "Among", "Alone"]
)
def test_what_else_stands_for_a_network(here, what):
    opened = open_function(f"mine_nets:{what}")
    assert opened.num_classes == 5
    answer = logits(opened.module, torch.rand(2, 3, 224, 224))
    assert type(answer) is torch.Tensor and answer.shape == (2, 5)


def test_a_network_without_convolutions_takes_colour(here):
    asked = Asked(16, (0.5, 0.4, 0.3), (0.2, 0.2, 0.1), 1.0, "bilinear", "crop")
    opened = open_function("mine_nets:flat", asked=asked)
    assert opened.num_classes == 7 and opened.notes == ()
    assert opened.preprocess == Preprocess(16, 1.0, "bilinear", asked.mean, asked.std)


def test_a_grey_network_takes_colour_images(here):
    asked = Asked(size=32, mean=(0.25,), std=(0.5,))
    opened = open_function("mine_nets:grey", asked=asked)
    import mine_nets

    own = mine_nets.Tiny(1).eval()
    own.load_state_dict(opened.module.network.state_dict())
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    grey = (np.asarray(image.convert("L"), np.float32)[None, None] / 255 - 0.25) / 0.5
    pixels = torch.from_numpy(opened.preprocess.normalize(np.asarray(image))[None])
    assert opened.input_shape == (1, 3, 32, 32) and "grey" in opened.notes[0]
    # Pillow's grey is rounded to whole numbers.
    assert torch.allclose(
        logits(opened.module, pixels), logits(own, torch.from_numpy(grey)), atol=5e-3
    )


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize(
    "spec,line",
    [
        ("mine_nets", "--network mine_nets: give package.module:function, or hf:DIR for a folder"),
        ("mine_nets:a b", "give package.module:function"),
        ("mine_net:make", "no module 'mine_net' in .*; did you mean 'mine_nets'?"),
        ("mine_nets.deep:make", "no module 'mine_nets.deep'"),
        ("mine_broken:make", "importing mine_broken fails: NameError: name 'unknown_name' is not "
                             r"defined \(.*mine_broken.py, line 2\)"),
        ("mine_lacking:make", "importing mine_lacking fails: ModuleNotFoundError: .*not_there_at"),
        ("mine_nets:mak", "mine_nets has no 'mak'; did you mean 'make'?"),
        ("mine_nets:wants", r"wants\(\) fails: TypeError: .*missing 1 required .*'number'"),
        ("mine_nets:breaks", r"breaks\(\) fails: KeyError: 'inner' \(.*mine_nets.py, line \d+\)"),
        ("mine_nets:leaves", r"leaves\(\) fails: SystemExit: gone"),
        ("mine_nets:nothing", r"nothing\(\) gives a NoneType, no plain torch.nn.Module; return"),
        ("mine_nets:scripted", "gives a RecursiveScriptModule, no plain torch.nn.Module"),
        ("mine_nets:Masked", r"needs 2 inputs \(x, mask\); wrap it so that it takes the image"),
        ("mine_nets:Sized", "fails on an image of 3 x 224 x 224: RuntimeError: .*; give --size"),
        ("mine_nets:Pair", "gives a tuple of 2; wrap it so that it gives the logits alone"),
        ("mine_nets:Keys", "gives a dict of a, b; wrap it"),
        ("mine_nets:Map", "gives 1 x 4 x 111 x 111 of torch.float32 for one image; classification "
                           "takes float logits, 1 x outputs"),
        ("mine_nets:Indices", "gives 1 x 5 of torch.int64 for one image"),
        ("mine_nets:four", r"takes 4 channels; 1 \(grey\) and 3 \(colour\) are supported"),
        ("mine_nets:grey", "takes grey images, of which no --mean is known; give one"),
        ("mine_nets:infinite", "'head.bias' holds values that are not finite"),
        ("mine_nets:empty", r"'head.weight' has no values \(device meta\); give the network"),
    ],
)  # fmt: skip
def test_functions_are_refused_in_one_line(here, spec, line):
    said = refused(open_function, spec)
    assert said.startswith(f"--network {spec}: ")
    assert re.search(line.replace("?", r"\?"), said), said


@pytest.mark.parametrize(
    "asked,line",
    [
        ({"mean": (0.5,)}, "--mean has 1 numbers for 3 channels"),
        ({"std": (1.0, 1.0)}, "--std has 2 numbers for 3 channels"),
        ({"std": (1.0, 0.0, 1.0)}, "--std must be a number from 1e-06"),
        ({"mean": (float("nan"),) * 3}, "--mean must be a number"),
        ({"size": 8}, "--size must be a whole number from 16 to 1,024 pixels, not 8"),
        ({"size": -224}, "not -224"),
        ({"size": (96, 8)}, "--size must be a whole number from 16 to 1,024 pixels, not 8"),
        ({"size": (96, 2000)}, "not 2000"),
        ({"size": (96, 96, 96)}, "image size .*: give one side, or height and width"),
        ({"fit": "squash"}, "fit 'squash' is not one of crop, stretch, letterbox"),
        ({"interpolation": "lanczos"}, "interpolation 'lanczos' is not one of nearest"),
        ({"crop_fraction": 1.5}, "--crop-fraction must be a number from 0.05 to 1, not 1.5"),
    ],
)
def test_what_is_said_must_fit(here, asked, line):
    said = refused(lambda: open_function("mine_nets:Tiny", asked=Asked(**asked)))
    assert re.search(line, said), said


def test_a_rectangle_that_is_stretched_is_seen_whole(here):
    told = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic", "fit": "stretch"}
    opened = open_function("mine_nets:Tiny", asked=Asked((32, 48), **told))
    assert opened.input_shape == (1, 3, 32, 48)
    assert opened.notes == ("assumed, as nothing is said: crop_fraction 1.0",)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 77, 3), dtype=np.uint8))
    assert np.array_equal(
        opened.preprocess.pixels(image),
        np.asarray(image.resize((48, 32), Image.Resampling.BICUBIC)),
    )
    asked = Asked((32, 48), **told, crop_fraction=0.5)
    assert open_function("mine_nets:Tiny", asked=asked).preprocess.crop_fraction == 0.5
    said = refused(open_function, "mine_nets:flat", asked=Asked((16, 24)))
    assert "fails on an image of 3 x 16 x 24: RuntimeError" in said


def test_multiples_of_a_step_are_a_familys_rule():
    said = refused(preprocess_of, "efficientmod_xxs", 100)
    assert said == "image size 100: must be a multiple of 32, at least 32"
    assert preprocess_of("efficientmod_xxs", 96) == Preprocess(size=96)
    assert Preprocess(size=100).size == 100


# -- its checkpoint


@pytest.fixture
def weights(here):
    """Another network's weights, by the names of `Tiny`."""
    return {k: v + 1 for k, v in open_function("mine_nets:Tiny").module.state_dict().items()}


def counted(state):
    return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}


@pytest.mark.parametrize(
    "wrapped,taken",
    [
        (lambda w: w, "the top level (plain)"),
        (lambda w: {"state_dict": {f"module.{k}": v for k, v in w.items()}, "epoch": 3},
         "state_dict, prefix 'module.' (plain)"),
        (lambda w: {f"model._orig_mod.{k}": v.half() for k, v in counted(w).items()},
         "the top level, prefix 'model.' (plain)"),
        (lambda w: {"model": {k: v * 0 for k, v in w.items()}, "model_ema": w},
         "model_ema (EMA); also there: model (plain)"),
    ],
)  # fmt: skip
def test_a_checkpoint_is_read_as_tools_write_it(here, weights, wrapped, taken):
    torch.save(wrapped(weights), "own.pth")
    opened = open_function("mine_nets:Tiny", Path("own.pth"))
    assert opened.weights.partition("; ignored")[0] == taken
    assert [path.name for path, _ in opened.files] == ["own.pth"]
    found = opened.module.state_dict()
    assert found.keys() == weights.keys()
    for name in counted(weights):
        assert torch.allclose(found[name], weights[name], atol=2e-3)


@pytest.mark.parametrize(
    "change,line",
    [
        (lambda w: w.pop("head.bias"), "own.pth doesn't fit mine_nets:Tiny: head.bias missing; 1 "),
        (lambda w: w.update({"head.weight": torch.zeros(9, 4)}),
         "head.weight has shape 9x4, not 5x4"),
        (lambda w: w.update({f"more.{i}": torch.zeros(1) for i in range(4)}),
         "more.0 unexpected, more.1 unexpected, more.2 unexpected; 4 names missing"),
        (lambda w: w.update({"head.bias": torch.full((5,), float("nan"))}),
         "'head.bias' holds values that are not finite"),
        (lambda w: w.update({"head.bias": torch.zeros(5, dtype=torch.int8)}), "is torch.int8, not"),
        (lambda w: w.clear(), "holds no weights"),
        (lambda w: w.update({"evil": print}), "refused: it would run code"),
    ],
)  # fmt: skip
def test_a_checkpoint_that_does_not_fit_is_refused(here, weights, change, line):
    change(weights)
    torch.save(weights, "own.pth")
    assert line in refused(open_function, "mine_nets:Tiny", Path("own.pth"))


# -- labels


@pytest.mark.parametrize("text", ["ant\nbee\ncat\ndog\nn01440764\n",
                                  '["ant", "bee", "cat", "dog", "n01440764"]'])  # fmt: skip
def test_labels_are_lines_or_json(here, text):
    Path("labels").write_text(text)
    labels = open_function("mine_nets:Tiny", asked=Asked(labels=Path("labels"))).labels
    assert [n["id"] for n in labels] == ["ant", "bee", "cat", "dog", "n01440764"]
    assert [n["label"] for n in labels] == ["ant", "bee", "cat", "dog", "tench"]


@pytest.mark.parametrize(
    "data,line",
    [
        (b"a\nb\n", "has 2 names for 5 outputs"),
        (b"a\n\nb\nc\nd\n", "name 2 is ''"),
        (b"a\nb\nc\nd\na\n", "'a' stands there twice"),
        (b'["a", 2]', "name 2 is 2"),
        (b'["a"', "is no JSON list"),
        (b"\xff\xfe", "it isn't UTF-8"),
        (None, "No such file"),
    ],
)
def test_labels_that_do_not_fit_are_refused(here, data, line):
    if data is not None:
        Path("labels").write_bytes(data)
    said = refused(open_function, "mine_nets:Tiny", asked=Asked(labels=Path("labels")))
    assert said.startswith("--labels labels") and line in said


def test_labels_of_a_configuration():
    assert labels_of({"1": "b", "0": "a"}) == ({"id": "a", "label": "a"}, {"id": "b", "label": "b"})
    assert labels_of({"0": "a", "1": "a"})[1] == {"id": "1", "label": "a"}
    assert labels_of({"0": "LABEL_0", "1": "LABEL_1"}) == labels_of(None) == ()
    synsets = imagenet_synsets()
    names = {str(i): f"{name}, another name" for i, name in synsets.values()}
    assert [n["id"] for n in labels_of(names)] == list(synsets)
    assert labels_of(names)[0]["label"] == "tench, another name"
    backwards = {str(999 - i): name for i, name in synsets.values()}
    assert labels_of(backwards)[0]["id"] != next(iter(synsets))
    with pytest.raises(ValueError, match="ids from 0 to 2 for 2 names"):
        labels_of({"0": "a", "2": "b"})


# -- a folder of Hugging Face's


@pytest.fixture(scope="module")
def library():
    with quiet():
        import transformers
        from transformers.models.auto import image_processing_auto, modeling_auto  # noqa: F401

        transformers.utils.logging.disable_progress_bar()
    return transformers


NETWORKS = {
    "ConvNextV2": (dict(depths=[1, 1, 1, 2], hidden_sizes=[4, 4, 8, 8]),
                   "ConvNext", {"size": {"shortest_edge": 64}, "crop_pct": 0.875}),
    "MobileNetV2": (dict(depth_multiplier=0.25),
                    "MobileNetV2", {"size": {"shortest_edge": 72},
                                    "crop_size": {"height": 64, "width": 64}}),
    "ViT": (dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
                 image_size=64, patch_size=16),
            "ViT", {"size": {"height": 64, "width": 64}, "do_normalize": False}),
    "Swin": (dict(embed_dim=4, depths=[1, 1], num_heads=[1, 2], window_size=4, image_size=64),
             "ViT", {"size": {"height": 64, "width": 64}}),
    "MobileViTV2": (dict(width_multiplier=0.25, n_attn_blocks=[1, 1, 1]),
                    "MobileViT", {"size": {"shortest_edge": 80},
                                  "crop_size": {"height": 64, "width": 64}}),
}  # fmt: skip


def configured(library, name: str, shape: dict):
    """A configuration with `CLASSES` labels."""
    labels = {i: f"class {i}" for i in range(CLASSES)}
    return getattr(library, f"{name}Config")(**shape, id2label=labels)


def save(library, network, processor: str, values: dict, folder: Path) -> None:
    """Write a network, its weights so large that answers depend on the image, and a processor."""
    torch.manual_seed(0)
    with quiet():
        for key, tensor in network.eval().state_dict().items():
            if tensor.ndim > 1:
                tensor.normal_(0, tensor[0].numel() ** -0.5)
            elif key.endswith(("weight", "var")):
                tensor.uniform_(1.0, 2.0)
            elif tensor.is_floating_point():
                tensor.normal_(0, 0.1)
        network.save_pretrained(folder)
        getattr(library, f"{processor}ImageProcessorPil")(**values).save_pretrained(folder)


@pytest.fixture(scope="module")
def saved(library, tmp_path_factory):
    """name -> (folder, network), seeded and with norms' statistics of their own."""
    made = {}
    for name, (shape, processor, values) in NETWORKS.items():
        folder = tmp_path_factory.mktemp(name) / f"tiny-{name}"
        config = configured(library, name, shape)
        network = getattr(library, f"{name}ForImageClassification")(config)
        save(library, network, processor, values, folder)
        made[name] = folder, network
    return made


@pytest.fixture
def folder(saved, tmp_path):
    """A folder to change: ConvNextV2's."""
    return shutil.copytree(saved["ConvNextV2"][0], tmp_path / "net")


def edit(path: Path, change) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_folder_gives_the_network_that_was_saved(saved, library, name, monkeypatch):
    folder, network = saved[name]

    def no_connection(*_, **__):
        raise AssertionError("a server was asked")

    monkeypatch.setattr(socket.socket, "connect", no_connection)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    opened = open_folder(folder)
    assert torch.equal(torch.rand(1), expected)
    assert opened.name == f"tiny_{name.lower()}" and opened.source == f"hf:{folder}"
    assert opened.num_classes == CLASSES and opened.input_shape == (1, 3, 64, 64)
    assert [n["id"] for n in opened.labels] == [f"class {i}" for i in range(CLASSES)]
    assert {p.name for p, _ in opened.files} == {
        "config.json", "model.safetensors", "preprocessor_config.json"
    }  # fmt: skip
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8))
    processor = getattr(library, f"{NETWORKS[name][1]}ImageProcessorPil").from_pretrained(folder)
    theirs = processor(image, return_tensors="pt")["pixel_values"]
    assert (logits(network, theirs) - logits(network, theirs.flip(1))).abs().max() > 1e-3
    ours = torch.from_numpy(opened.preprocess(image)[None])
    if name == "MobileViTV2":  # of blue, green, red: our network takes red, green, blue
        assert torch.equal(ours.flip(1), theirs)
        close = torch.allclose(logits(opened.module, ours), logits(network, theirs), atol=1e-5)
        assert close and not torch.equal(ours, theirs)
    else:
        assert torch.equal(ours, theirs)
        assert torch.equal(logits(opened.module, ours), logits(network, theirs))


def test_colours_that_can_not_be_turned_round_are_refused(here):
    opened = open_function("mine_nets:flat", asked=Asked(size=16))
    assert "takes blue, green, red, which can't be turned round" in refused(take_rgb, opened)


def asked_of(own):
    """What is measured of a processor of the library's."""
    return lambda image: np.asarray(own(image, return_tensors="np")["pixel_values"][0])


@pytest.mark.parametrize(
    "kind,given",
    [
        ("Beit", {}), ("Bit", {}), ("BridgeTower", {}), ("CLIP", {}), ("ConvNext", {}),
        ("ConvNext", {"size": {"shortest_edge": 112}}), ("DeiT", {}), ("EfficientNet", {}),
        ("Levit", {}), ("MobileNetV1", {}), ("MobileNetV2", {}),
        ("MobileViT", {"size": {"shortest_edge": 288}}), ("PoolFormer", {}), ("Pvt", {}),
        ("Segformer", {}), ("Siglip", {}), ("TextNet", {"size": {"shortest_edge": 280}}),
        ("ViT", {}), ("ViT", {"size": {"height": 96, "width": 160}, "resample": 3}),
        ("ViT", {"size": {"height": 160, "width": 96}, "resample": 0}),
        ("EfficientNet", {"size": {"height": 120, "width": 160}, "do_center_crop": True,
                          "crop_size": {"height": 96, "width": 128}}),
        ("Bit", {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 48}}),
        ("Bit", {"size": {"shortest_edge": 96}, "crop_size": {"height": 64, "width": 80}}),
    ],
)  # fmt: skip
def test_pixels_are_those_of_the_processor(library, kind, given):
    base = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    own = getattr(library, f"{kind}ImageProcessorPil")(**given)
    made = measured(asked_of(own))
    whole = Image.fromarray(base).resize((450, 300), Image.Resampling.BICUBIC)
    # What can't be said in a bundle is another only where an image is no square.
    image = whole.crop((0, 0, 300, 300)) if made.notes else whole
    theirs = asked_of(own)(image)
    ours = made.preprocess(image)[:: -1 if made.reversed else 1]
    assert ours.shape == theirs.shape and np.abs(ours - theirs).max() <= 1e-6
    assert made.reversed == (kind == "MobileViT")

    def differs(image):
        theirs = asked_of(own)(image)
        ours = made.preprocess(image)[:: -1 if made.reversed else 1]
        return ours.shape != theirs.shape or np.abs(ours - theirs).max() > 1e-5

    tall = whole.transpose(Image.Transpose.ROTATE_90)
    assert bool(made.notes) == any(map(differs, (whole, tall)))


@pytest.mark.parametrize(
    "values,more,expected",
    [
        ({"do_rescale": False, "do_normalize": False}, (), ((0, 0, 0), (1 / 255,) * 3)),
        ({"rescale_factor": 1 / 127.5, "image_mean": 1.0, "image_std": 2.0}, (),
         ((0.5, 0.5, 0.5), (1, 1, 1))),
        ({"do_center_crop": False, "do_normalize": False}, ("leaves the longer side",),
         ((0, 0, 0), (1, 1, 1))),
        ({"crop_size": {"height": 64, "width": 32}, "do_normalize": False},
         ("300 x 420 pixels to 64 x 89 before it crops, here they become 46 x 64",),
         ((0, 0, 0), (1, 1, 1))),
    ],
)  # fmt: skip
def test_what_a_processor_may_do(library, values, more, expected):
    made = measured(asked_of(library.BitImageProcessorPil(**{**STANDARD, **values})))
    assert (len(made.notes), all(m in made.notes[0] for m in more)) == (len(more), True)
    assert (made.preprocess.mean, made.preprocess.std) == expected


def crop_then_resize(image):
    return resized(image.crop((20, 20, 190, 190)))


def longer_side(image):
    return np.moveaxis(
        np.float32(image.resize([64 * s // max(image.size) for s in image.size])), -1, 0
    )


def resized(image, how=Image.Resampling.BICUBIC):
    return np.moveaxis(np.asarray(image.resize((64, 64), how), np.float32), -1, 0)


@pytest.mark.parametrize(
    "process,line",
    [
        (lambda image: resized(image.convert("L").convert("RGB")), "no mean and deviation"),
        (lambda image: resized(image) ** 2, "no mean and deviation"),
        (lambda image: resized(image) * 0, "black and white the same"),
        (lambda image: resized(image)[:1], "it gives (1, 64, 64) for an image"),
        (lambda image: np.pad(resized(image), ((0, 0), (2, 2), (2, 2))), "it pads images"),
        (lambda image: resized(image, Image.Resampling.LANCZOS), "how it resizes isn't known"),
        (crop_then_resize, "how it resizes isn't known"),
        (longer_side, "follows the longer side"),
        (lambda image: np.moveaxis(np.float32(image), -1, 0), "isn't resized to one size"),
        (lambda image: resized(image)[:, 8:], "how it resizes isn't known"),
    ],
)
def test_what_a_bundle_can_not_say_is_refused(process, line):
    with pytest.raises(ValueError, match=re.escape(line)):
        measured(process)


STANDARD = {
    "do_resize": True, "do_rescale": True, "do_normalize": True, "do_center_crop": True,
    "size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}, "resample": 3,
    "rescale_factor": 1 / 255, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
}  # fmt: skip


def test_a_folder_of_shards_and_one_of_a_pickle_are_read(folder, saved):
    network = saved["ConvNextV2"][1]
    with quiet():
        network.save_pretrained(folder, max_shard_size="4KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    shards = sorted(p.name for p in folder.glob("model-*.safetensors"))
    x = torch.rand(1, 3, 64, 64)
    opened = open_folder(folder)
    assert len(shards) > 1 and {p.name for p, _ in opened.files} >= {
        *shards, "model.safetensors.index.json"
    }  # fmt: skip
    assert torch.equal(logits(opened.module, x), logits(network, x))
    assert "names" in refused_without(folder, shards[0])
    for path in folder.glob("model*"):
        path.unlink()
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    assert torch.equal(logits(open_folder(folder).module, x), logits(network, x))


def refused_without(folder: Path, name: str) -> str:
    (folder / name).unlink()
    return refused(open_folder, folder)


def test_in_the_librarys_cache_the_repository_gives_the_name(saved, tmp_path):
    place = tmp_path / "models--someone--Net-Atto.v2" / "snapshots" / "0a1b"
    shutil.copytree(saved["ConvNextV2"][0], place)
    assert open_folder(place).name == "net_atto_v2"


CONFIG, PROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"


@pytest.mark.parametrize(
    "file,change,line",
    [
        (CONFIG, None, "has no config.json; give a folder of save_pretrained"),
        (CONFIG, "{", "config.json is no JSON: Expecting"),
        (CONFIG, "[]", "config.json is no JSON object"),
        (CONFIG, {"auto_map": {"AutoModel": "x.Y"}}, "asks for code of its own, which isn't run"),
        (CONFIG, {"quantization_config": {}}, "is quantized already"),
        (CONFIG, {"model_type": "convnextv3"}, "model_type 'convnextv3' isn't known to transform"),
        (CONFIG, {"model_type": "convnextv3"}, "did you mean 'convnextv2'?"),
        (CONFIG, {"model_type": None}, "model_type None isn't known"),
        (CONFIG, {"architectures": None}, "names no single architecture"),
        (CONFIG, {"architectures": ["ConvNextV2Model"]}, "holds a ConvNextV2Model; taken for "
         "classification and segmentation: ConvNextV2ForImageClassification"),
        (CONFIG, {"model_type": "bert", "architectures": ["BertModel"]}, "none of bert's"),
        (CONFIG, {"depths": "deep"}, "ConvNextV2ForImageClassification can't be built of it: "),
        (CONFIG, {"id2label": {"0": "a", "1": "b"}},
         "classifier.weight has shape 5x8, not 2x8; 2 names missing"),
        (CONFIG, {"depths": [1, 1, 1, 3]}, "convnextv2.encoder.stages.3.layers.2."),
        (CONFIG, {"depths": [1, 1, 1, 1]}, "unexpected; 10 names"),
        (WEIGHTS, None, "has no weights: neither model.safetensors nor pytorch_model.bin"),
        (WEIGHTS, "cut", "is neither a PyTorch nor a safetensors file"),
        (PROCESSOR, None, "has no preprocessor_config.json; give --size, --mean and --std"),
        (PROCESSOR, "{", "preprocessor_config.json is no JSON"),
        (PROCESSOR, {"auto_map": {}}, "asks for code of its own"),
        (PROCESSOR, {**STANDARD, "crop_size": {"height": 96, "width": 96},
                     "image_processor_type": "BitImageProcessor"}, "it pads images"),
        (PROCESSOR, {"resample": 1}, "how it resizes isn't known; one of nearest, bilinear, "),
        (PROCESSOR, {"do_resize": False}, "an image that isn't resized"),
        (PROCESSOR, {"size": {"height": 64, "width": 8}, "image_processor_type":
                     "ViTImageProcessor"}, "image size 8: must be at least 16"),
        (PROCESSOR, {"size": {"longest_edge": 64}, "image_processor_type": "BitImageProcessor"},
         "Size must "),
        (PROCESSOR, {"size": {"shortest_edge": 8}}, "image size 8: must be at least 16"),
    ],
)  # fmt: skip
def test_folders_are_refused_in_one_line(folder, file, change, line):
    path = folder / file
    if change is None:
        path.unlink()
    elif isinstance(change, str):
        path.write_text(change)
    else:
        edit(path, lambda values: values.update(change))
    assert line in refused(open_folder, folder)


def test_a_folder_that_is_not_there_is_not_looked_for_elsewhere():
    assert "is no folder; nothing is downloaded" in refused(open_folder, Path("someone/net"))


def test_settings_can_not_choose_other_code_or_outputs(folder, saved):
    network = saved["ConvNextV2"][1]
    chosen = {"_attn_implementation": "someone/kernel", "return_dict": False, "dtype": "float16"}
    edit(folder / CONFIG, lambda values: values.update(chosen))
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(logits(open_folder(folder).module, x), logits(network, x))


def test_without_the_library_a_line_says_so(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "needs the package transformers" in refused(open_folder, folder)


def test_what_is_said_goes_before_the_processor(folder):
    said = open_folder(folder, Asked(size=96, mean=(0.1, 0.2, 0.3))).preprocess
    assert (said.size, said.mean, said.std) == (96, (0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    (folder / PROCESSOR).unlink()
    asked = Asked(size=64, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))
    opened = open_folder(folder, asked)
    assert opened.preprocess == dataclasses.replace(Preprocess(), size=64, mean=asked.mean,
                                                    std=asked.std)  # fmt: skip
    assert opened.notes == (
        "assumed, as nothing is said: crop_fraction 0.9, interpolation bicubic, fit crop",
    )


def test_the_order_of_colours_is_the_processors_whatever_is_said(saved):
    folder, network = saved["MobileViTV2"]
    asked = Asked(size=64, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    x = torch.rand(1, 3, 64, 64)
    answer = logits(open_folder(folder, asked).module, x)
    assert torch.allclose(answer, logits(network, x.flip(1)), atol=1e-5)
    assert not torch.allclose(answer, logits(network, x), atol=1e-5)


# -- the command line


def parsed(*words: str) -> argparse.Namespace:
    parser = Parser(prog="mobilemod export")
    network_options(parser)
    return parser.parse_args(words)


def test_options_open_a_network(here, folder):
    assert opened_of(parsed("--model", "efficientmod_xxs", "--size", "224")) is None
    words = ("--network", "mine_nets:Tiny", "--size", "64x64", "--mean", "0,0,0", "--std=1,1,1",
             "--crop-fraction", "1", "--interpolation", "bilinear")  # fmt: skip
    assert opened_of(parsed(*words)).preprocess == Preprocess(64, 1, "bilinear", (0,) * 3, (1,) * 3)
    more = opened_of(parsed(*words, "--size", "32X48", "--fit", "stretch")).preprocess
    assert (more.size, more.sides, more.fit) == ((32, 48), (32, 48), "stretch")
    assert opened_of(parsed("--network", f"hf:{folder}")).preprocess.size == 64


@pytest.mark.parametrize(
    "words,line",
    [
        (("--network", "a:b", "--model", "c"), "--model and --network both say which network"),
        (("--network", "hf:x", "--checkpoint", "y"), "--checkpoint doesn't go with hf:DIR"),
        (("--crop-fraction", "1"), "--crop-fraction goes with --network"),
        (("--interpolation", "nearest"), "--interpolation goes with --network"),
        (("--size", "96x160"), "--size 96x160: rectangles go with --network; ours take squares"),
        (("--labels", "x"), "--labels goes with --network"),
        (("--network", "hf:x"), "--network hf:x: is no folder"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words, line):
    assert line in refused(opened_of, parsed(*words))


@pytest.mark.parametrize(
    "words,line",
    [
        (("--size", "0"), "'0': give a whole number from 16 to 1,024 pixels"),
        (("--size", "224x8"), "'8': give a whole number from 16 to 1,024 pixels"),
        (("--size", "1025x224"), "'1025': give a whole number from 16 to 1,024 pixels"),
        (("--size", "224x"), "'': give a whole number from 16 to 1,024 pixels"),
        (("--size", "64x64x64"), "'64x64': give a whole number from 16 to 1,024 pixels"),
        (("--mean", "a,b"), "'a,b': give numbers by commas"),
    ],
)
def test_options_that_can_not_be_read_are_refused(words, line, capsys):
    with pytest.raises(SystemExit):
        parsed(*words)
    assert line in capsys.readouterr().err


def test_outputs_that_nothing_names_are_calibrated_on_images_all_the_same(here, tmp_path):
    for folder in ("train/ant", "train/bee", "val/ant", "val/bee"):
        (tmp_path / folder).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(tmp_path / folder / "a.png")
    opened = open_function("mine_nets:Tiny", asked=Asked(size=32))
    source = source_of(opened, tmp_path)
    assert source.label_ids == ("0", "1", "2", "3", "4") and not source.named
    assert len(source.read(tmp_path, "train").samples) == 2
    assert "--classes FILE" in source.notes[-1] and "--labels FILE" in source.notes[-1]
    said = refused(source_of, opened, DataSet(tmp_path, classes=ClassNames({}, sorted=True)))
    assert "--classes names 2 classes in order, the model has 5" in said
