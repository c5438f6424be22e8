"""`antiphon serve`: models as an HTTP server with a page to try them."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from antiphon.cli.command import Command
from antiphon.cli.flags import Flag, Group, Positional
from antiphon.errors import ModelError, UsageError
from antiphon.serving.process.settings import ModelEntry, ProcessSettings
from antiphon.serving.settings import ServerSettings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from antiphon.serving.service import ModelService

_EXTRA = ("fastapi", "uvicorn", "prometheus_client", "python_multipart")
SERVER = Group(ServerSettings, "server", "What is accepted, from whom, and for how long.")
# The time for a call is that for its request.
PROCESS = Group(ProcessSettings, "queue", "The queue before each model.", without=("models", "timeout_seconds"))


@dataclass(frozen=True, kw_only=True)
class Serve(Command):
    """Serve models over HTTP: the APIs of LibreTranslate, DeepL and OpenAI, one of our own, and a page at /.

    Each model is a run folder or a model folder, and computes in a process of its own; NAME=MODEL names it in requests.
    The first one is the default. Needs the extra: pip install 'antiphon[serve]'.
    """

    models: Annotated[tuple[str, ...], Positional("[NAME=]MODEL ...")]
    """Run folders or model folders, each with an optional name."""
    quantize: Literal["int8"] | None = None
    """Quantize the weights to eight bits: faster on a CPU, with nearly the same answers."""
    lazy: bool = False
    """Load each model at its first call instead of at the start."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module with custom parts that the models need."""
    server: Annotated[dict[str, Any], SERVER] = field(default_factory=dict)
    process: Annotated[dict[str, Any], PROCESS] = field(default_factory=dict)

    def check(self) -> None:
        if self.seed is not None:
            raise UsageError("`--seed` is a setting of each request: the field `seed` of /v1/generate. Drop the flag.")

    def run(self) -> int:
        settings = ServerSettings(**self.server)
        entries = self._entries()
        _check_extra()
        from antiphon.serving.http.app import create_app
        from antiphon.serving.http.logs import log_to
        from antiphon.serving.http.server import bind, make_server
        from antiphon.serving.process.service import ProcessService

        log_to(sys.stderr, requests=settings.log_requests and not self.quiet)
        timeout = settings.request_timeout_seconds
        service = ProcessService(ProcessSettings(**self.process, models=entries, timeout_seconds=timeout))
        app = create_app(service, settings)
        with bind(settings) as listening:
            address = _address(*listening.getsockname()[:2])
            check = (lambda: None) if self.lazy else _StartWatch(service).check
            server = make_server(app, started=lambda: self._announce(app, address, entries, settings), tick=check)
            server.run(sockets=[listening])
        return server.exit_code

    def _entries(self) -> tuple[ModelEntry, ...]:
        """The models with their names; ModelError for a folder that is not there."""
        found = []
        for text in self.models:
            name, equals, path = text.partition("=")
            if not equals or "/" in name:
                name, path = "", text
            if path.startswith((".", "/", "~")) and not Path(path).expanduser().exists():
                raise ModelError(f"`{path}` must be a run folder or a model folder, but is not there.")
            found.append(
                ModelEntry(
                    name=name or _name_of(path),
                    path=str(Path(path).expanduser()) if path.startswith("~") else path,
                    device=self.device,
                    dtype=self.dtype,
                    quantize=self.quantize,
                    threads=self.threads,
                    imports=self.imports,
                    preload=not self.lazy,
                )
            )
        return tuple(found)

    def _announce(self, app: FastAPI, address: str, entries: tuple[ModelEntry, ...], settings: ServerSettings) -> None:
        models = ", ".join(f"{entry.name} ({entry.path}, device {entry.device})" for entry in entries)
        self.say(f"antiphon: {address} serves {models}; {app.state.context.keys.describe()}")
        if settings.keys is None and settings.host not in ("127.0.0.1", "::1", "localhost"):
            logging.getLogger("antiphon.serving").warning(
                "anybody who reaches %s may use the models; --keys FILE asks for keys", address
            )


class _StartWatch:
    """Ends the server if a model cannot be loaded at all; what fails later is replaced."""

    def __init__(self, service: ModelService) -> None:
        self._service = service
        self._ready: set[str] = set()

    def check(self) -> None:
        """Check the states of the models. ModelError for one that failed before it was ever ready."""
        for status in self._service.statuses():
            if status.state == "ready":
                self._ready.add(status.name)
            elif status.state == "failed" and status.name not in self._ready:
                raise ModelError(f"the model `{status.name}` cannot be loaded: {status.error}")


def _name_of(path: str) -> str:
    """The name of a model: that of its folder, or of the run around a folder `model`."""
    parts = [part for part in Path(path).expanduser().absolute().parts if part != "/"]
    name = parts[-2] if len(parts) > 1 and parts[-1] == "model" else parts[-1]
    return "-".join(name.split())


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _check_extra() -> None:
    from importlib.util import find_spec

    missing = [name.replace("_", "-") for name in _EXTRA if find_spec(name) is None]
    if missing:
        raise UsageError(f"`antiphon serve` needs {', '.join(missing)}. Install: pip install 'antiphon[serve]'")
