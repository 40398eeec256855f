"""What is read out of a bundle beside its model files, each checked against the manifest."""

from __future__ import annotations

from mobilemod.data.imagefolder import FileContent
from mobilemod.errors import UserError
from mobilemod.forms.unfold import network
from mobilemod.manifest import Bundle
from mobilemod.networks.checkpoints import load_checkpoint
from mobilemod.networks.efficientmod import EfficientMod
from quantization.calibration import Calibration, load_calibration, weights_digest
from quantization.prepare.prepared import CALIBRATION_FILE, WEIGHTS_FILE, load_prepared
from quantization.recipe import Recipe, load_recipe

REFERENCE_FILE = "reference.safetensors"
RECIPE_FILE = "recipe.json"


def load_reference(bundle: Bundle) -> EfficientMod:
    """The float network that a bundle's drops are measured against, in eval mode.

    Raises `UserError` where its file isn't the manifest's, or holds other weights than it says.
    """
    variant, classes = bundle.manifest["model"], bundle.manifest["num_classes"]
    path = bundle.file(REFERENCE_FILE)
    state = load_checkpoint(path, variant, classes).state
    if weights_digest(state) != bundle.manifest["checkpoint"]["weights"]:
        raise UserError(f"{path} is not the network of its manifest (weights differ); export again")
    return network(variant, classes, state)


def load_quantized_network(bundle: Bundle) -> EfficientMod:
    """The network that a bundle's parameter tables belong to, unquantized, in eval mode.

    The reference with its weights prepared for quantization; the reference itself where nothing
    was to prepare.
    """
    if WEIGHTS_FILE not in bundle.hashes:
        return load_reference(bundle)
    path = bundle.file(WEIGHTS_FILE)
    bundle.file(CALIBRATION_FILE)
    prepared = load_prepared(bundle.folder)
    if prepared.reference != bundle.manifest["checkpoint"]["weights"]:
        raise UserError(f"{path} was prepared from other weights than {REFERENCE_FILE}'s")
    return network(bundle.manifest["model"], bundle.manifest["num_classes"], prepared.state)


def load_calibrated(bundle: Bundle) -> tuple[FileContent, ...]:
    """The images that a bundle's ranges were observed on; () where they aren't known."""
    if CALIBRATION_FILE not in bundle.hashes:
        return ()
    return load_calibration(bundle.file(CALIBRATION_FILE)).files


def bundle_recipe(bundle: Bundle) -> Recipe:
    """The recipe of a bundle's int8 files."""
    return load_recipe(str(bundle.file(bundle.manifest["recipe"]["file"])))


def bundle_calibration(bundle: Bundle) -> Calibration:
    """The ranges that a bundle's tables were made of."""
    return load_calibration(bundle.file(CALIBRATION_FILE))
