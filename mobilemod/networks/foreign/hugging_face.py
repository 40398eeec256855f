"""A network from a folder that Hugging Face's `save_pretrained` wrote.

Nothing is downloaded, and no code that a folder brings or names is run.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mobilemod.errors import UserError
from mobilemod.networks.foreign.architecture import architecture_of, build
from mobilemod.networks.foreign.labels import labels_of
from mobilemod.networks.foreign.opened import Asked, Opened, open_module
from mobilemod.networks.foreign.probe import first_convolution, words, wrong
from mobilemod.networks.foreign.processor import Processed, colours, measured
from mobilemod.networks.foreign.weights import floats
from mobilemod.networks.reading.files import read_checkpoint
from mobilemod.tasks import get_task

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
PROCESSOR = "preprocessor_config.json"
# By which a processor says, today and before, that files of labels have its classes from 1.
FROM_1 = ("do_reduce_labels", "reduce_labels")
NOTHING = Asked()


def open_folder(folder: Path, asked: Asked = NOTHING) -> Opened:
    """The network in `folder`: config.json, weights in one file or shards, and its processor's
    preprocessor_config.json, without which `asked` has to tell size, mean and deviation.

    The class is transformers' own for the architecture that config.json names, and tells the task;
    every weight of it is in the files, and none more. Raises `UserError` for all that can be wrong
    with a folder.
    """
    source = f"hf:{folder}"
    if not folder.is_dir():
        raise wrong(source, "is no folder; nothing is downloaded, so give one with config.json")
    values = _json(folder / "config.json", source)
    for key, why in (
        ("auto_map", "asks for code of its own, which isn't run"),
        ("quantization_config", "is quantized already"),
    ):
        if key in values:
            raise wrong(source, f"its config.json has {key!r}: it {why}; give another network")
    try:
        import transformers
    except ImportError as error:
        raise wrong(source, f"needs the package transformers ({error}); install it") from error
    architecture, task = architecture_of(transformers, values, source)
    files, state = read_weights(folder, source)
    with _offline():
        module = build(transformers, architecture, values, state, files[0], source)
        said = _processed(transformers, folder, source, asked.whole)
    try:
        labels = labels_of(values.get("id2label"))
    except ValueError as error:
        raise wrong(source, f"its config.json has a wrong id2label: {error}") from None
    used = (*files, *(p for p in (folder / "config.json", folder / PROCESSOR) if p.is_file()))
    opened = open_module(
        _name(folder),
        module,
        source,
        asked,
        used,
        said.preprocess,
        labels,
        notes=said.notes + _of_labels(folder, source, task),
        task=task,
    )
    if said.reversed:
        take_rgb(opened)
    if labels and len(opened.labels) != opened.num_classes:
        raise wrong(source, f"names {len(labels)} labels for {opened.num_classes} outputs")
    return opened


def read_weights(folder: Path, source: str) -> tuple[tuple[Path, ...], dict[str, Tensor]]:
    """The files with weights, their index first, and what they hold by name, floats in float32.

    Raises `UserError` where there are none, a shard is missing or a file can't be read.
    """
    for name in WEIGHTS:
        path, index = folder / name, folder / f"{name}.index.json"
        if path.is_file():
            paths = (path,)
        elif index.is_file():
            shards = _json(index, source).get("weight_map")
            if not isinstance(shards, dict) or not all(isinstance(s, str) for s in shards.values()):
                raise wrong(source, f"{index.name} has no weight_map of names to files")
            paths = (index, *(folder / s for s in sorted(set(shards.values()))))
            outside = next((p.name for p in paths if p.parent != folder or not p.is_file()), None)
            if outside:
                raise wrong(source, f"{index.name} names {outside}, which isn't there; copy it")
        else:
            continue
        state: dict[str, Tensor] = {}
        for part in paths[1:] or paths:
            tensors = dict(read_checkpoint(part)[0])
            state |= floats(part, tensors, {k for k, v in tensors.items() if not _counts(v)})
        return paths, state
    raise wrong(source, f"has no weights: neither {' nor '.join(WEIGHTS)}, nor an index of shards")


def _counts(value: Any) -> bool:
    """Whether it is a tensor of indices or counters."""
    return isinstance(value, Tensor) and value.dtype in (torch.int32, torch.int64, torch.bool)


def take_rgb(opened: Opened) -> None:
    """Make a network that takes blue, green, red take red, green, blue, exactly.

    Its first convolution's weights change places. `UserError` where that isn't the same function.
    """
    first = first_convolution(opened.module)
    x = torch.rand(opened.input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain, turned = opened.module(x), opened.module(x.flip(1))
        if first is not None and first.in_channels == 3:
            first.weight.copy_(first.weight.flip(1))
        error = (opened.module(x) - turned).abs().max()
        if error > 0.01 * (plain - turned).abs().max() + 1e-5 * turned.abs().max():
            raise wrong(opened.source, "takes blue, green, red, which can't be turned round in it")


def _name(folder: Path) -> str:
    """The folder's name, or the repository's in Hugging Face's own cache."""
    folder = folder.absolute()
    cached = folder.parent.name == "snapshots" and folder.parents[1].name.startswith("models--")
    return folder.parents[1].name.rpartition("--")[2] if cached else folder.name


def _json(path: Path, source: str) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise wrong(source, f"has no {path.name}; give a folder of save_pretrained") from None
    except (OSError, ValueError, RecursionError) as error:
        raise wrong(source, f"{path.name} is no JSON: {error}; copy it again") from None
    if not isinstance(values, dict):
        raise wrong(source, f"{path.name} is no JSON object; copy it again")
    return values


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Hugging Face's libraries say nothing and ask no server; random numbers stay as they were."""
    from huggingface_hub import constants
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        constants.HF_HUB_OFFLINE = before
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _processed(transformers: Any, folder: Path, source: str, known: bool) -> Processed:
    """What the folder's processor does; known: but for the order of colours, which it alone tells.

    Raises `UserError` where there is none, or it does what a bundle can't say.
    """
    if not (folder / PROCESSOR).exists():
        if known:
            return Processed()
        raise wrong(source, f"has no {PROCESSOR}; give --size, --mean and --std, or add it")
    values = _json(folder / PROCESSOR, source)
    if "auto_map" in values and not known:
        why = f"{PROCESSOR} asks for code of its own, which isn't run"
        raise wrong(source, f"{why}; give --size, --mean and --std")
    try:
        own = transformers.AutoImageProcessor.from_pretrained(
            str(folder), backend="pil", local_files_only=True, trust_remote_code=False
        )

        def process(image: Image.Image) -> np.ndarray:
            return np.asarray(own(image, return_tensors="np")["pixel_values"][0])

        return Processed(reversed=colours(process).reversed) if known else measured(process)
    except Exception as error:
        own_words = isinstance(error, UserError) or type(error) is ValueError
        first = (str(error) if own_words else words(error)).strip().partition("\n")[0]
        if known:
            return Processed(notes=(f"its order of colours isn't known, RGB is taken: {first}",))
        raise wrong(source, f"{PROCESSOR}: {first}; give --size, --mean and --std") from error


def _of_labels(folder: Path, source: str, task: str) -> tuple[str, ...]:
    """What is to be known of files of labels, where the task has such."""
    if not get_task(task).maps or not (folder / PROCESSOR).is_file():
        return ()
    values = _json(folder / PROCESSOR, source)
    if not any(values.get(key) for key in FROM_1):
        return ()
    return (
        "trained on files of labels with classes from 1, 0 for none of them, as ADE20K's layout is "
        "read; in the other one classes are from 0",
    )
