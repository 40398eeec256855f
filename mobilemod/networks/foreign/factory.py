"""A network from a function of the user's own, "package.module:function"."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from mobilemod.errors import meant
from mobilemod.networks.foreign.opened import Asked, Opened, open_module
from mobilemod.networks.foreign.probe import words, wrong
from mobilemod.networks.foreign.weights import fill

NOTHING = Asked()


def open_function(spec: str, checkpoint: Path | None = None, asked: Asked = NOTHING) -> Opened:
    """The network that a function or class gives when it is called without arguments.

    It is imported with the current directory first. checkpoint: weights for it, read without
    running code; without one the module's own are taken. Raises `UserError` for all that can be
    wrong with either.
    """
    path, _, name = spec.partition(":")
    if not all(part.isidentifier() for part in (*path.split("."), name)):
        raise wrong(spec, "give package.module:function, or hf:DIR for a folder")
    source = _import(path, spec)
    module = _make(source, name, spec)
    weights = "" if checkpoint is None else str(fill(module, checkpoint, spec))
    code = inspect.getsourcefile(source)
    files = (checkpoint,) if checkpoint is not None else (Path(code),) if code else ()
    return open_module(name, module, spec, asked, files, weights=weights)


def _import(path: str, spec: str) -> ModuleType:
    # Kept there: what a network imports when it runs may stand beside it.
    if os.getcwd() not in sys.path[:1]:
        sys.path.insert(0, os.getcwd())
    importlib.invalidate_caches()
    try:
        return importlib.import_module(path)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{path}.".startswith(f"{error.name}."):
            near = meant(path, [p.stem for p in Path.cwd().glob("*.py")])
            raise wrong(
                spec, f"no module {error.name!r} in {Path.cwd()} or among installed packages{near}"
            ) from error
        raise wrong(spec, f"importing {path} fails: {words(error)}") from error


def _make(source: ModuleType, name: str, spec: str) -> nn.Module:
    """What the function gives, unwrapped of what compiles or spreads it."""
    found = getattr(source, name, None)
    if found is None:
        public = [k for k in vars(source) if not k.startswith("_")]
        raise wrong(spec, f"{source.__name__} has no {name!r}{meant(name, public)}")
    module = found
    if not isinstance(found, nn.Module):
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # start values are the same every time
                module = found()
        except (Exception, SystemExit) as error:
            raise wrong(spec, f"{name}() fails: {words(error)}") from error
    if isinstance(module, nn.DataParallel):
        module = module.module
    module = getattr(module, "_orig_mod", module)  # of torch.compile
    if not isinstance(module, nn.Module) or isinstance(module, torch.jit.ScriptModule):
        kind = type(module).__name__
        raise wrong(spec, f"{name}() gives a {kind}, no plain torch.nn.Module; return the network")
    return module
