"""Which of `transformers`' networks a configuration names, what for, and it with its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mobilemod.errors import meant
from mobilemod.networks.foreign.probe import words, wrong
from mobilemod.networks.foreign.weights import check_fit

# Of a task: the table of its architectures in `transformers.models.auto.modeling_auto`.
TABLES = {
    "classification": "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "segmentation": "MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES",
}
# Those of networks that give masks, and the class of each.
MASKS = (
    "MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES",
    "MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING_NAMES",
    "MODEL_FOR_IMAGE_SEGMENTATION_MAPPING_NAMES",
)
# Settings by which a configuration could choose other code than the library's own, or outputs
# without names.
CHOICES = {"_attn_implementation", "attn_implementation", "_attn_implementation_internal",
           "_experts_implementation", "fusion_config", "return_dict", "torchscript"}  # fmt: skip


def architecture_of(transformers: Any, values: dict[str, Any], source: str) -> tuple[str, str]:
    """The name of the class that config.json names, and the task it is for.

    `UserError` where it isn't one of the library's for a known task.
    """
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    kind, named = values.get("model_type"), values.get("architectures")
    if kind not in CONFIG_MAPPING_NAMES:
        near = meant(str(kind), CONFIG_MAPPING_NAMES)
        version = f"transformers {transformers.__version__}"
        raise wrong(source, f"its model_type {kind!r} isn't known to {version}{near}")
    if not isinstance(named, list) or len(named) != 1 or not isinstance(named[0], str):
        raise wrong(source, "its config.json names no single architecture under 'architectures'")

    def of_kind(table: str) -> tuple[str, ...]:
        known = getattr(modeling_auto, table, {}).get(kind, ())
        return (known,) if isinstance(known, str) else tuple(known)

    tasks = {name: task for task, table in TABLES.items() for name in of_kind(table)}
    if named[0] not in tasks:
        why = ""
        if any(named[0] in of_kind(table) for table in MASKS):
            why = ", which gives masks and a class for each, not classes for each pixel"
        taken = " or ".join(tasks) or f"none of {kind}'s"
        raise wrong(source, f"holds a {named[0]}{why}; taken for {' and '.join(TABLES)}: {taken}")
    return named[0], tasks[named[0]]


def build(
    transformers: Any,
    architecture: str,
    values: dict[str, Any],
    state: dict[str, Tensor],
    path: Path,
    source: str,
) -> nn.Module:
    """The network with these weights, from the file `path`; `UserError` where it can't be built or
    they don't fit it.

    The library knows under which names older ones were saved.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    try:
        config = CONFIG_MAPPING[values["model_type"]].from_dict(_without(values, CHOICES))
        module, loaded = getattr(transformers, architecture).from_pretrained(
            None,
            config=config,
            state_dict=state,
            dtype=torch.float32,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # they are told in one line below
            output_loading_info=True,
        )
    except Exception as error:
        raise wrong(source, f"{architecture} can't be built of it: {words(error)}") from error
    problems = [f"{name} missing" for name in sorted(loaded["missing_keys"])]
    for name, found, needed in sorted(loaded["mismatched_keys"]):
        shapes = ("x".join(map(str, shape)) for shape in (found, needed))
        problems.append("{} has shape {}, not {}".format(name, *shapes))
    check_fit(path, architecture, problems, loaded["unexpected_keys"])
    return module


def _without(values: Any, keys: set[str]) -> Any:
    """JSON values without these keys, at any depth."""
    if isinstance(values, dict):
        return {k: _without(v, keys) for k, v in values.items() if k not in keys}
    return [_without(v, keys) for v in values] if isinstance(values, list) else values
