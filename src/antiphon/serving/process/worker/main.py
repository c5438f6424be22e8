"""Loads the model of a process, and starts its loop."""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import socket
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.errors import AntiphonError, ConfigError, UsageError, one_line
from antiphon.serving.process.messages import LoadFailed, ModelLoaded, StartModel
from antiphon.serving.process.worker.channel import Channel

if TYPE_CHECKING:
    from antiphon.generation.translator import Translator

_PR_SET_PDEATHSIG = 1  # of Linux's prctl


def run(*, socket_number: int, parent: int) -> None:
    """Serve one model until the connection ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all processes of a group; the server ends this one
        signal.signal(number, signal.SIG_IGN)
    _end_with(parent)
    channel = Channel(socket.socket(fileno=socket_number))
    first = channel.wait()
    assert isinstance(first, StartModel)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = _load(first)
        except Exception as error:
            message = str(error) if isinstance(error, AntiphonError) else f"{type(error).__name__}: {one_line(error)}"
            # A name of the hub may be found when the network is back.
            permanent = isinstance(error, UsageError) and not isinstance(error.__cause__, OSError)
            channel.send([LoadFailed(message=message, permanent=permanent)])
            os._exit(1)
        from antiphon.serving.process.worker.loop import WorkLoop
        from antiphon.serving.process.worker.model_info import info_of

        loop = WorkLoop(model, channel, max_attention_values=first.max_attention_values)
        if first.warm_up:
            loop.warm_up()
        info = info_of(model, first)
    channel.send([ModelLoaded(info=info, warnings=list(dict.fromkeys(str(each.message) for each in caught)))])
    loop.run()


def _load(first: StartModel) -> Translator:
    for name in first.imports:
        _import(name)
    import torch

    from antiphon.generation.load import load

    if first.threads is not None:
        torch.set_num_threads(first.threads)
    paths = list(first.paths)
    return load(paths[0] if len(paths) == 1 else paths, device=first.device, dtype=first.dtype, quantize=first.quantize)


def _import(name: str) -> None:
    """Import a module of the user; the current folder is searched first."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        importlib.import_module(name)
    except Exception as error:  # the user's module may raise anything
        raise ConfigError(
            f"`imports` has {name}, which cannot be imported ({type(error).__name__}: {error})."
        ) from error
    finally:
        sys.path.pop(0)


def _end_with(parent: int) -> None:
    """Let the kernel kill this process when the server dies, even if it holds the interpreter's lock then (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before
        os._exit(0)
