"""The sets of weights in a checkpoint: averaged and plain ones, wrapped and nested as tools do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mobilemod.errors import UserError

# In this order, averages before them; what else there is comes behind, as it stands in the file.
WEIGHT_KEYS = (
    "state_dict_ema", "model_ema", "ema", "ema_state_dict", "ema_model",
    "state_dict", "model", "model_state_dict", "module", "network", "net", "weights", "params",
)  # fmt: skip
# Numbers that tools put among the weights: thop, SWA, batch norms, averages.
COUNTERS = {
    "total_ops", "total_params", "n_averaged", "num_batches_tracked", "num_updates", "updates",
    "decay", "initted",
}  # fmt: skip
# Names that wrappers put anywhere into a name: torch.compile, FSDP, activation checkpointing.
WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
MAX_DEPTH = 4
NAMED_AT_MOST = 3
AVERAGED = re.compile(r"(?<![a-z])(ema|shadow)(?![a-z])")


@dataclass(frozen=True)
class WeightSet:
    """Weights of one network in a checkpoint.

    key: where they stand, keys joined by dots, "" for the file's top. prefix: what came before
    every name. tensors: by name without the prefix; what isn't a tensor too. ignored: full names
    of counters, and of what stands beside the prefix.
    """

    key: str
    prefix: str
    tensors: dict[str, Any]
    ignored: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For people: the key and the prefix."""
        where = self.key or "the top level"
        return f"{where}, prefix {self.prefix!r}" if self.prefix else where

    @property
    def averaged(self) -> bool:
        """Whether its place says that it is a moving average of the weights (EMA)."""
        return _averaged(f"{self.key}.{self.prefix}")


def _averaged(place: str) -> bool:
    return bool(AVERAGED.search(re.sub(r"([a-z])([A-Z])", r"\1_\2", place).lower()))


def find_sets(content: Mapping[Any, Any], beginnings: Iterable[str]) -> list[WeightSet]:
    """Every set of weights, averages first, each group in the order of `WEIGHT_KEYS`.

    beginnings: patterns of where a network's name starts; what stands before is a prefix.
    Where nothing looks like a network: what a state dict may be, at the top or under a key.
    """
    network = re.compile(rf"(?:^|(?<=\.))(?:{'|'.join(beginnings)})")
    sets: list[WeightSet] = []
    others: list[WeightSet] = []
    for keys, mapping in _mappings(content, (), set()):
        prefixes = _prefixes(mapping, network)
        if prefixes:
            sets += _split(".".join(keys), mapping, prefixes)
        elif not keys or keys[0] in WEIGHT_KEYS:
            others.append(_whole(".".join(keys), mapping))
    return sorted(sets or [s for s in others if s.tensors], key=_rank)


def require_sets(
    path: Path, content: Mapping[Any, Any], beginnings: Iterable[str]
) -> list[WeightSet]:
    """`find_sets` of a file; `UserError` where there are none."""
    sets = find_sets(content, beginnings)
    if not sets:
        held = tuple(map(str, content))
        raise UserError(
            f"checkpoint {path} holds no weights: neither a state dict nor one under "
            f"{', '.join(WEIGHT_KEYS)} (it holds {listed(held)})"
        )
    return sets


def unnamed_averages(content: Mapping[Any, Any]) -> list[str]:
    """Keys of averages that hold no weights by name (a list of tensors, say)."""
    named = {key for keys, _ in _mappings(content, (), set()) for key in keys[:1]}
    return [
        str(key)
        for key, value in content.items()
        if _averaged(str(key)) and str(key) not in named and isinstance(value, list | tuple | dict)
    ]


def listed(names: tuple[str, ...]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
    return ", ".join(names[:NAMED_AT_MOST]) + more or "nothing"


def _rank(found: WeightSet) -> tuple[bool, bool, int]:
    words = re.split(r"[._]", f"{found.key}.{found.prefix}")
    key = found.key.partition(".")[0]
    place = WEIGHT_KEYS.index(key) if key in WEIGHT_KEYS else len(WEIGHT_KEYS)
    return not found.averaged, "teacher" in words, place


def _mappings(
    content: Mapping[Any, Any], keys: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """(keys, mapping) of every mapping that holds tensors, from the outside in, each once."""
    seen.add(id(content))
    if any(isinstance(v, Tensor) for v in content.values()):
        yield keys, content
    if len(keys) < MAX_DEPTH:
        for key, value in content.items():
            if isinstance(value, Mapping) and id(value) not in seen:
                yield from _mappings(value, (*keys, str(key)), seen)


def _clean(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    """By name without wrappers' parts, where names stay different; without inner mappings."""
    values = {str(k): v for k, v in mapping.items() if not isinstance(v, Mapping)}
    plain = {".".join(p for p in k.split(".") if p not in WRAPPERS): v for k, v in values.items()}
    return plain if len(plain) == len(values) else values


def _prefixes(mapping: Mapping[Any, Any], network: re.Pattern[str]) -> list[str]:
    """What stands before the network's names, each once, in order."""
    matches = ((name, network.search(name)) for name in _clean(mapping))
    return list(dict.fromkeys(name[: match.start()] for name, match in matches if match))


def is_counter(name: str) -> bool:
    """Whether a name is that of a number which no network computes with."""
    return name.rpartition(".")[2] in COUNTERS


def _split(key: str, mapping: Mapping[Any, Any], prefixes: list[str]) -> Iterator[WeightSet]:
    values = _clean(mapping)
    owners = {
        name: max((p for p in prefixes if name.startswith(p)), key=len, default=None)
        for name in values
    }
    for prefix in prefixes:
        own = {n: v for n, v in values.items() if owners[n] == prefix}
        kept = {n.removeprefix(prefix): v for n, v in own.items() if not is_counter(n)}
        left = [n for n in values if owners[n] is None or (n in own and is_counter(n))]
        yield WeightSet(key, prefix, kept, tuple(left))


def _whole(key: str, mapping: Mapping[Any, Any]) -> WeightSet:
    """All of a mapping without names of a network, less the prefix that all names share."""
    values = _clean(mapping)
    kept = {name: value for name, value in values.items() if not is_counter(name)}
    parts = [name.split(".") for name in kept]
    shared = 0
    while len(parts) > 1 and all(
        len(p) > shared + 1 and p[shared] == parts[0][shared] for p in parts
    ):
        shared += 1
    prefix = "".join(f"{p}." for p in parts[0][:shared]) if parts else ""
    ignored = tuple(name for name in values if name not in kept)
    return WeightSet(key, prefix, {n.removeprefix(prefix): v for n, v in kept.items()}, ignored)
