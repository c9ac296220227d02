"""How far a start is: from Serve's details of replicas."""

from typing import Any

from app.upstream.start import Stage, Start, starts_of


def details(**replicas: list[dict[str, Any]]) -> dict[str, Any]:
    deployments = {name: {"replicas": of} for name, of in replicas.items()}
    return {"applications": {"portico": {"deployments": deployments}}}


def replica(state: str = "STARTING", pid: int | None = None, began: float = 100.0) -> dict[str, Any]:
    return {"state": state, "pid": pid, "start_time_s": began, "replica_id": "r1"}


def test_a_replica_without_a_process_waits_and_one_with_a_process_loads() -> None:
    found = starts_of(details(alpha=[replica()], beta=[replica(pid=7)]), "portico")
    assert found == {"alpha": Start(Stage.QUEUED, 100.0, "r1"), "beta": Start(Stage.LOADING, 100.0, "r1")}


def test_of_several_replicas_that_start_the_oldest_counts() -> None:
    found = starts_of(details(alpha=[replica(began=200.0), replica(pid=7, began=50.0)]), "portico")
    assert found == {"alpha": Start(Stage.LOADING, 50.0, "r1")}


def test_a_replica_that_runs_or_stops_is_no_start() -> None:
    assert starts_of(details(alpha=[replica("RUNNING", 7), replica("STOPPING", 8)], beta=[]), "portico") == {}


def test_where_there_is_no_application_nothing_starts() -> None:
    assert starts_of({"applications": {}}, "portico") == {}
