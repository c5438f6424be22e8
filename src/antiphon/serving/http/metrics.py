"""Metrics for Prometheus, in a registry of their own. Labels are bounded: routes, statuses, served models."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from antiphon.serving.service import ModelService

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_STATES = ("unloaded", "loading", "ready", "restarting", "failed")
# Of the figures of a service: those that say how things are now. The others are sums since the start.
_NOW = {"ready", "load_seconds", "inputs_per_second", "memory_bytes", "queued_characters", "entries", "bytes"}
_ELSEWHERE = {"queued", "running", "restarts"}  # are in the status of each model


class Metrics:
    """The counters of one server; those of its models are read from `service` at each scrape."""

    def __init__(self, service: ModelService) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter("antiphon_requests", "Answered requests.", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            "antiphon_request_seconds", "Time to the end of the answer.", ["route"], registry=registry, buckets=_SECONDS
        )
        self.running = Gauge("antiphon_requests_running", "Requests that are not answered yet.", registry=registry)
        self.inputs = Counter("antiphon_inputs", "Texts and recordings to answer.", ["model"], registry=registry)
        self.characters = Counter(
            "antiphon_characters", "Characters read and written.", ["model", "direction"], registry=registry
        )
        self.draining = Gauge("antiphon_draining", "1 while the server shuts down.", registry=registry)
        registry.register(_ModelCollector(service))

    def text(self) -> bytes:
        """All metrics in Prometheus' text form."""
        return generate_latest(self._registry)


class _ModelCollector(Collector):
    """The states, queues and figures of the models, and the figures of the cache."""

    def __init__(self, service: ModelService) -> None:
        self._service = service

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        state = GaugeMetricFamily("antiphon_model_state", "1 for the state of a model.", labels=["model", "state"])
        queued = GaugeMetricFamily("antiphon_queue_depth", "Inputs that wait for a model.", labels=["model"])
        running = GaugeMetricFamily("antiphon_model_running", "Inputs that a model answers.", labels=["model"])
        restarts = CounterMetricFamily("antiphon_model_restarts", "Model processes replaced.", labels=["model"])
        for status in self._service.statuses():
            for name in _STATES:
                state.add_metric([status.name, name], float(status.state == name))
            queued.add_metric([status.name], status.queued)
            running.add_metric([status.name], status.running)
            restarts.add_metric([status.name], status.restarts)
        yield from (state, queued, running, restarts)
        yield from self._figures()

    def _figures(self) -> Iterator[Metric]:
        figures = self._service.metrics()
        for name, value in figures.get("cache", {}).items():
            family = _family(f"antiphon_cache_{name}", "Of the cache of repeated inputs.", name, [])
            family.add_metric([], value)
            yield family
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for model, numbers in figures.get("models", {}).items():
            for name, value in numbers.items():
                if name not in _ELSEWHERE:
                    if name not in families:
                        families[name] = _family(f"antiphon_model_{name}", "Of a model's process.", name, ["model"])
                    families[name].add_metric([model], value)
        yield from families.values()


def _family(full: str, about: str, name: str, labels: list[str]) -> GaugeMetricFamily | CounterMetricFamily:
    kind = GaugeMetricFamily if name in _NOW else CounterMetricFamily
    return kind(full, about, labels=labels)
