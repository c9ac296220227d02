"""Checks the alerts and the dashboard against what the service exports: `python -m cluster.check_metrics URL...`.

Each URL is a page in Prometheus' text format, of a node's metrics agent: GET /metrics of the gateway has no nodes, and
no key but the caller's. Every metric that an expression names must be on one of them, with every label that the
expression filters or groups by. A counter or a histogram exists once something was counted, so run it after some
traffic: a stream of text, an error, a spent budget.
"""

import sys
import urllib.request
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import orjson
import promql_parser
import yaml
from prometheus_client.parser import text_string_to_metric_families
from promql_parser import AggregateExpr, BinaryExpr, MatrixSelector, VectorSelector

from contract.project import PROJECT_FOLDER

FILES = PROJECT_FOLDER / "cluster" / "helm" / "portico" / "files"  # a chart reads no file outside its folder
RULES, DASHBOARD = FILES / "prometheus-rules.yaml", FILES / "grafana-dashboard.json"

# What no single machine without a GPU can show -> where it is looked for instead.
ELSEWHERE = {
    "ray_portico_background_loop_failures_total": "only a loop that has failed has it: app/telemetry/metrics.py",
    "ray_portico_budget_store_unreachable": "only several gateway replicas have it: tests/cluster/test_three_nodes.py",
    "ray_portico_team_monthly_use": "only teams with monthly quotas have it: app/telemetry/metrics.py",
    "ray_portico_team_monthly_limit": "only teams with monthly quotas have it: app/telemetry/metrics.py",
    "ray_portico_usage_rows_lost_total": "only a gateway that has lost rows has it: app/telemetry/metrics.py",
    "ray_node_gpus_utilization": "only nodes with a GPU have it: Ray's own definition",
    "ray_node_gram_used": "only nodes with a GPU have it: Ray's own definition",
    "ray_node_gram_available": "only nodes with a GPU have it: Ray's own definition",
}

# name of a series -> names of labels
Labels = dict[str, set[str]]


def expressions() -> dict[str, str]:
    """Every expression, by the alert or the panel that has it."""
    found = {}
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            found[f"alert {rule['alert']}"] = rule["expr"]
    for panel in orjson.loads(DASHBOARD.read_bytes())["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "5m")
            found[f"panel {panel['title']} {target['refId']}"] = expression
    return found


def used(expression: str) -> Labels:
    """The series that an expression names, each with the labels that it filters or groups by. Raises ValueError."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    _collect(promql_parser.parse(expression), frozenset(), found)
    return dict(found)


def _collect(node: Any, outer: frozenset[str], found: defaultdict[str, set[str]]) -> None:
    """Walk down; `outer` are the labels that something above groups by."""
    if isinstance(node, MatrixSelector):
        node = node.vector_selector
    if isinstance(node, VectorSelector):
        if node.name is None:
            raise ValueError(f"{node} names no metric")
        found[node.name] |= outer | {matcher.name for matcher in node.matchers.matchers}
    elif isinstance(node, AggregateExpr):
        # What is above sees only what this groups by.
        _collect(node.expr, frozenset(node.modifier.labels if node.modifier else ()), found)
    elif isinstance(node, BinaryExpr):
        matching = node.modifier.matching if node.modifier else None
        labels = outer | frozenset(matching.labels if matching else ())
        _collect(node.lhs, labels, found)
        _collect(node.rhs, labels, found)
    else:
        for child in [*getattr(node, "args", []), *([node.expr] if hasattr(node, "expr") else [])]:
            _collect(child, outer, found)


def exported(pages: Iterable[str]) -> Labels:
    """The series on the pages with their labels."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for page in pages:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                found[sample.name] |= set(sample.labels)
    return dict(found)


def faults(there: Labels) -> list[str]:
    """What the expressions name and the service does not have."""
    message = []
    for place, expression in expressions().items():
        for name, labels in used(expression).items():
            if name in ELSEWHERE and name not in there:
                continue
            if name not in there:
                message.append(f"{place}: there is no metric {name}")
            elif unknown := labels - there[name]:
                message.append(
                    f"{place}: {name} has no label {', '.join(sorted(unknown))}; it has {sorted(there[name])}"
                )
    return message


def main(urls: list[str]) -> int:
    pages = []
    for url in urls:
        with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310 - the operator names it
            pages.append(response.read().decode())
    message = faults(exported(pages))
    print("\n".join(message) or f"All of {len(expressions())} expressions name what is there.")
    return int(bool(message) or not pages)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
