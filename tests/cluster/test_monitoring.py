"""The alerts and the dashboard: their expressions are right, and every alert says what to do.

That the service exports what they name is checked with the running service (tests/contract/test_metrics.py).
"""

import re
import shutil
import subprocess
from itertools import combinations
from typing import Any

import orjson
import promql_parser
import pytest
import yaml
from ray.dashboard.modules.reporter import reporter_agent

from cluster import check_metrics
from cluster.check_metrics import DASHBOARD, RULES, expressions, faults, used
from contract.project import PROJECT_FOLDER

ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
PANELS = [panel for panel in orjson.loads(DASHBOARD.read_bytes())["panels"] if panel["type"] != "row"]
OPERATIONS = (PROJECT_FOLDER / "docs" / "operations.md").read_text()

by_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])


@pytest.mark.parametrize("place", expressions())
def test_an_expression_is_right(place: str) -> None:
    assert used(expressions()[place])


@by_alert
def test_an_alert_says_how_bad_it_is_and_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert alert["annotations"]["summary"].endswith(".")
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert (page, anchor) == ("docs/operations.md", alert["alert"].lower())
    headings = {re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in
                OPERATIONS.splitlines() if line.startswith("#")}  # fmt: skip
    assert anchor in headings


@by_alert
def test_a_summary_names_only_labels_that_the_expression_leaves(alert: dict[str, Any]) -> None:
    named = set(re.findall(r"\$labels\.(\w+)", alert["annotations"]["summary"]))
    groups = re.findall(r"by \(([^)]*)\)", alert["expr"])
    left = {label.strip() for group in groups for label in group.split(",")}
    assert named <= left


def test_every_alert_of_the_page_exists() -> None:
    assert set(re.findall(r"^#+ (Portico[A-Z]\w+)$", OPERATIONS, re.MULTILINE)) == {alert["alert"] for alert in ALERTS}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (of Prometheus) is not installed")
def test_promtool_takes_the_rules() -> None:
    result = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_dashboard_shows_what_it_is_for() -> None:
    names = set().union(*(used(expression) for expression in expressions().values()))
    for part in (
        "portico_requests_total", "portico_time_to_first_token_seconds", "portico_inter_token_seconds",
        "num_requests_waiting", "queued_queries", "portico_tokens_total", "budget_refusals", "spec_decode",
        "replica_healthy", "gpus_utilization",
    ):  # fmt: skip
        assert any(part in name for name in names), part


def test_the_dashboard_s_panels_have_their_own_places_and_numbers() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for one, other in combinations([panel["gridPos"] for panel in PANELS], 2):
        apart = (
            one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        )  # fmt: skip
        assert apart, (one, other)


def test_what_only_a_gpu_shows_is_as_ray_defines_it() -> None:
    for name in check_metrics.ELSEWHERE:
        if name.startswith("ray_node_"):
            assert name.removeprefix("ray_") in reporter_agent.METRICS_GAUGES
            for expression in expressions().values():
                assert used(expression).get(name, set()) <= set(reporter_agent.GPU_TAG_KEYS)


@pytest.mark.parametrize(
    ("expression", "reported"),
    [
        ("sum(ray_portico_nothing_total)", "panel x: there is no metric ray_portico_nothing_total"),
        ("sum by (who) (rate(ray_a_total[5m]))", "panel x: ray_a_total has no label who; it has ['model']"),
        ('histogram_quantile(0.5, sum by (model) (ray_a_total{where="x"}))', "panel x: ray_a_total has no label where"),
        ("sum by (model) (ray_a_total) > on (which) ray_a_total", "panel x: ray_a_total has no label which"),
        ("sum by (model) (ray_a_total) / 2 > 1", None),
    ],
)
def test_the_check_finds_what_is_not_there(
    monkeypatch: pytest.MonkeyPatch, expression: str, reported: str | None
) -> None:
    monkeypatch.setattr(check_metrics, "expressions", lambda: {"panel x": expression})
    found = faults({"ray_a_total": {"model"}})
    assert (found == []) if reported is None else found[0].startswith(reported)


def test_an_expression_that_is_no_promql_is_refused() -> None:
    with pytest.raises(ValueError, match="unclosed"):
        promql_parser.parse("sum by (model) (")
