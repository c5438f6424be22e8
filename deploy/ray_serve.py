"""The server of models as a Ray Serve application, for those who run Ray.

    serve run --app-dir deploy ray_serve:build model=/models/demo quantize=int8 threads=2 replicas=4

or, in a config file of Ray Serve:

    applications:
      - {name: antiphon, route_prefix: /, import_path: ray_serve:build, args: {model: /models/demo, threads: 2}}

Each replica is a whole server, whose model computes in a process of its own that the replica replaces if it dies. Ray's
proxy has the sockets, so that the flags about these (`--host`, `--keep-alive-seconds`, ...) have no effect. It needs
`ray[serve]` and deploy/requirements.txt on every node, and the model at the same path.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from ray import cloudpickle, serve

from antiphon.errors import ConfigError
from antiphon.recipe import meaning
from antiphon.serving.http.app import create_app
from antiphon.serving.process.service import ProcessService
from antiphon.serving.process.settings import ModelEntry, ProcessSettings
from antiphon.serving.settings import ServerSettings
from antiphon.settings import FlagText, hints
from antiphon.settings import build as build_settings

MAX_REQUESTS = 256  # in one replica; it queues what it does not compute yet, and refuses more than --max-queue
REQUESTS_A_REPLICA = 32  # in progress on average, above which Ray starts another replica: half of a batch


class LoadedService(ProcessService):
    """A service that starts when its models can answer, so that Ray sends no request before."""

    async def start(self) -> None:
        await super().start()
        for status in self.statuses():
            await self.load(status.name)


def build(arguments: Mapping[str, Any]) -> serve.Application:
    """The application. `arguments`: `model`, its path; `name`, `replicas` (the most of them), the settings of a
    `ModelEntry` (threads, quantize, device, ...), and those of `ServerSettings`, `ProcessSettings` (keys, languages,
    max_items, max_queue, ...). ConfigError for any other."""
    given = {
        name: FlagText(value, meaning(value)) if isinstance(value, str) else value for name, value in arguments.items()
    }
    if "model" not in given:
        raise ConfigError("`model` must be the path of a model, but is not given.")
    model = {"name": "default", "path": str(given.pop("model"))}
    replicas = int(given.pop("replicas", 1))
    groups: dict[Any, dict[str, Any]] = {ModelEntry: model, ServerSettings: {}, ProcessSettings: {}}
    for name, value in given.items():
        kind = next((kind for kind in groups if name in hints(kind)), ServerSettings)
        groups[kind][name] = value
    entry = build_settings(ModelEntry, model)
    settings = build_settings(ServerSettings, groups[ServerSettings])
    queue = build_settings(ProcessSettings, {**groups[ProcessSettings], "models": (entry,)})

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # so that the nodes do not need this file

    def make_app() -> FastAPI:
        return create_app(LoadedService(queue), settings)

    options = {"num_cpus": entry.threads or 1, "num_gpus": int(entry.device == "cuda")}
    deployment = serve.deployment(
        name="antiphon",
        ray_actor_options=options,
        max_ongoing_requests=MAX_REQUESTS,
        graceful_shutdown_timeout_s=settings.drain_seconds + 5,
        autoscaling_config={
            "min_replicas": 1,
            "max_replicas": replicas,
            "target_ongoing_requests": REQUESTS_A_REPLICA,
        },
    )
    return deployment(serve.ingress(make_app)()).bind()
