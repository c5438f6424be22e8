"""Metrics for Prometheus, in a registry of their own. Labels are bounded: routes, statuses, served models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from antiphon.serving.service import ModelStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_STATES = ("unloaded", "loading", "ready", "restarting", "failed")


class Metrics:
    """The counters of one server; `statuses` are read at each scrape."""

    def __init__(self, statuses: Callable[[], Sequence[ModelStatus]]) -> None:
        self._registry = CollectorRegistry()
        made = {"registry": self._registry}
        self.requests = Counter("antiphon_requests", "Answered requests.", ["route", "status"], **made)
        self.seconds = Histogram(
            "antiphon_request_seconds", "Time to the end of the answer.", ["route"], buckets=_SECONDS, **made
        )
        self.running = Gauge("antiphon_requests_running", "Requests that are not answered yet.", **made)
        self.inputs = Counter("antiphon_inputs", "Texts and recordings to answer.", ["model"], **made)
        self.characters = Counter("antiphon_characters", "Characters read and written.", ["model", "direction"], **made)
        self.draining = Gauge("antiphon_draining", "1 while the server shuts down.", **made)
        self._registry.register(_ModelCollector(statuses))

    def text(self) -> bytes:
        """All metrics in Prometheus' text form."""
        return generate_latest(self._registry)


class _ModelCollector(Collector):
    """The models' states and queues."""

    def __init__(self, statuses: Callable[[], Sequence[ModelStatus]]) -> None:
        self._statuses = statuses

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        state = GaugeMetricFamily("antiphon_model_state", "1 for the state of a model.", labels=["model", "state"])
        queued = GaugeMetricFamily("antiphon_queue_depth", "Inputs that wait for a model.", labels=["model"])
        running = GaugeMetricFamily("antiphon_model_running", "Inputs that a model answers.", labels=["model"])
        restarts = GaugeMetricFamily("antiphon_model_restarts", "Model processes replaced.", labels=["model"])
        for status in self._statuses():
            for name in _STATES:
                state.add_metric([status.name, name], float(status.state == name))
            queued.add_metric([status.name], status.queued)
            running.add_metric([status.name], status.running)
            restarts.add_metric([status.name], status.restarts)
        yield from (state, queued, running, restarts)
