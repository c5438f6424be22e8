"""Dashboards, alerts and autoscalers ask for metrics that the server has, with labels that they have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from serving.http.fake import FakeService

from antiphon.serving.http.metrics import Metrics

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/antiphon.json").read_text(encoding="utf-8"))


class Counted(FakeService):
    """A service whose models have the figures of a real one."""

    def metrics(self) -> dict[str, Any]:
        from antiphon.serving.process.service import ProcessService
        from antiphon.serving.process.settings import ModelEntry, ProcessSettings

        return ProcessService(ProcessSettings(models=(ModelEntry(name="a", path="a"),))).metrics()


def exported() -> dict[str, set[str]]:
    """The metrics of a server with their labels."""
    metrics = Metrics(Counted())
    metrics.requests.labels("/translate", "200").inc()
    metrics.seconds.labels("/translate").observe(0.1)
    metrics.inputs.labels("a").inc()
    metrics.characters.labels("a", "read").inc()
    found: dict[str, set[str]] = {"up": {"job"}}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? ", metrics.text().decode(), re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Every query with its place."""
    for panel in DASHBOARD["panels"]:
        yield from ((f"panel {panel['title']}", target["expr"]) for target in panel["targets"])
    for rule in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"][0]["rules"]:
        yield f"alert {rule['alert']}", rule["expr"]
    (trigger,) = yaml.safe_load((DEPLOY / "keda.yaml").read_text())["spec"]["triggers"]
    yield "keda.yaml", trigger["metadata"]["query"]


QUERIES = dict(queries())
OF_PROMETHEUS = {"instance", "job", "app_kubernetes_io_name"}  # labels that scraping adds


@pytest.mark.parametrize("place", QUERIES)
def test_queries_name_metrics_and_labels_that_exist(place: str) -> None:
    known = exported()
    selectors = re.findall(r"\b(up|antiphon_\w+)(?:\{(.*?)\})?", QUERIES[place])
    assert selectors, "the query names no metric"
    for name, matchers in selectors:
        assert name in known, f"the server has no metric {name}"
        assert set(re.findall(r"(\w+)\s*[=!]~?\s*\"", matchers)) <= known[name] | OF_PROMETHEUS


@pytest.mark.parametrize("place", QUERIES)
def test_queries_are_promql(place: str) -> None:
    parser = pytest.importorskip("promql_parser", reason="promql-parser is not installed (extra [dev])")
    query = QUERIES[place].replace("$instance", ".*").replace("$model", ".*")
    parser.parse(query)
    with pytest.raises(ValueError):
        parser.parse(query + " + sum by (")


def test_variables_of_the_dashboard_are_asked_of_metrics_that_exist() -> None:
    known = exported()
    for variable in DASHBOARD["templating"]["list"]:
        name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]
        assert label in known[name] | OF_PROMETHEUS
        assert variable["query"]["query"] == variable["definition"]
    used = set(re.findall(r"\$(\w+)", " ".join(QUERIES.values())))
    assert used == {variable["name"] for variable in DASHBOARD["templating"]["list"]}


def test_panels_do_not_overlap() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        own = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not own & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        assert panel["title"] and panel["description"]
        cells |= own
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_dashboard_is_provisioned_with_its_data_source() -> None:
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}
    (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/antiphon.yaml").read_text())["providers"]
    grafana = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["grafana"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == (
        f"{provider['options']['path']}/antiphon.json"
    )


def test_the_autoscalers_follow_the_same_metric_alike() -> None:
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    scaler = next(each for each in documents if each["kind"] == "HorizontalPodAutoscaler")["spec"]
    (metric,) = scaler["metrics"]
    assert metric["pods"]["metric"]["name"] in exported()
    (rule,) = yaml.safe_load((DEPLOY / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    assert rule["name"]["matches"] == metric["pods"]["metric"]["name"]
    keda = yaml.safe_load((DEPLOY / "keda.yaml").read_text())["spec"]
    (trigger,) = keda["triggers"]
    assert metric["pods"]["metric"]["name"] in trigger["metadata"]["query"]
    assert trigger["metadata"]["threshold"] == metric["pods"]["target"]["averageValue"]
    assert (keda["minReplicaCount"], keda["maxReplicaCount"]) == (scaler["minReplicas"], scaler["maxReplicas"])
