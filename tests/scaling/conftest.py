"""A service of its own: models that soon scale to zero, two replicas of pocket-chat. Tests change its configuration."""

import copy
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.config.service import APPLICATION_POLICY
from app.keys import LOCAL_KEY
from contract.project import PROJECT_FOLDER
from tests.conftest import Service, entry_of, launched

CHAT, EMBED, SPEECH = "pocket-chat", "pocket-embed", "pocket-speech"
# Asleep after two seconds, in the autoscaler's eyes: those of its mean come before.
SOON = {"downscale_to_zero_delay_s": 2, "look_back_s": 2, "upscale_delay_s": 0}
WAKE_SECONDS = 60
SETTLE_SECONDS = 90
CLOSE_SECONDS = 10


class Cluster:
    """The process that talks with the service's Serve: see tests/scaling/cluster.py."""

    def __init__(self, address: str, environment: dict[str, str] | None = None) -> None:
        """`environment` is that of a driver of this cluster, where it is not this process's."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.scaling.cluster", address],
            cwd=PROJECT_FOLDER,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, *command: str) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(command), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, f"the process that talks with Serve ended at {command}"
        return json.loads(answer)

    def close(self) -> None:
        """End it. It would wait for a head that has gone."""
        try:
            self._process.communicate(timeout=CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


class ScaledService:
    """The running service, its configuration, and what its Serve says of it."""

    def __init__(self, service: Service, content: dict[str, Any], folder: Path, cluster: Cluster) -> None:
        self.service = service
        self.content = content
        self.changed = folder / "changed.yaml"  # what was deployed last
        self._cluster = cluster

    def close(self) -> None:
        self._cluster.close()

    def entry(self, model_id: str) -> dict[str, Any]:
        """A model's entry in the configuration; change it and `deploy`."""
        return entry_of(self.content["applications"][0]["args"]["models"], model_id)

    def deploy(self) -> None:
        self.changed.write_text(yaml.safe_dump(self.content))
        self._cluster.call("deploy", str(self.changed))

    def status(self) -> dict[str, Any]:
        """Of each deployment, and of the application by its own name: the status, and the replicas' states by id."""
        status: dict[str, Any] = self._cluster.call("status")
        return status

    def replicas(self, model_id: str) -> set[str]:
        return {name for name, state in self.status()[model_id]["replicas"].items() if state == "RUNNING"}

    def ongoing(self, model_id: str) -> list[int]:
        """How many requests each replica works on."""
        ongoing: list[int] = self._cluster.call("ongoing", model_id)
        return ongoing

    def stats(self, model_id: str) -> dict[str, float]:
        """What one of its replicas reports to the autoscaler."""
        stats: dict[str, float] = self._cluster.call("stats", model_id)
        return stats

    def pids(self) -> dict[str, list[int]]:
        """The processes of each deployment's replicas."""
        pids: dict[str, list[int]] = self._cluster.call("pids")
        return pids

    def residents(self, model_id: str) -> list[list[str]]:
        """The LoRA adapters that each replica has loaded."""
        residents: list[list[str]] = self._cluster.call("residents", model_id)
        return residents

    def held(self) -> dict[str, Any]:
        """What the gateway's replicas and the budget stores hold for requests that are under way."""
        held: dict[str, Any] = self._cluster.call("held")
        return held

    def kill(self, deployment: str) -> None:
        self._cluster.call("kill", deployment)

    def wait(self, true: Callable[[dict[str, Any]], bool], seconds: float = SETTLE_SECONDS) -> dict[str, Any]:
        """Wait until `true` of the status, and return that."""
        deadline = time.monotonic() + seconds
        while not true(status := self.status()):
            assert time.monotonic() < deadline, f"after {seconds} s the deployments are {status}"
            time.sleep(0.2)
        return status

    def wait_asleep(self, model_id: str) -> None:
        self.wait(lambda status: status[model_id]["status"] == "HEALTHY" and not status[model_id]["replicas"])

    def wait_settled(self) -> dict[str, Any]:
        """Wait until what was deployed last is what runs."""
        return self.wait(is_settled)


@pytest.fixture(scope="session")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScaledService]:
    content = yaml.safe_load((PROJECT_FOLDER / "serve_configs" / "tiny.yaml").read_text())
    args = content["applications"][0]["args"]
    chat, embed, speech = (copy.deepcopy(entry_of(args["models"], name)) for name in (CHAT, EMBED, SPEECH))
    chat["scaling"] = {"min_replicas": 2, "max_replicas": 2, "max_ongoing_requests": 8}
    chat["routing"] = {"policy": "prefix", "max_imbalance": 2}
    for entry, wake_timeout_s in ((embed, 0.5), (speech, WAKE_SECONDS)):
        entry |= {"mode": "flex", "scaling": SOON | {"wake_timeout_s": wake_timeout_s}}
    args["models"] = [chat, embed, speech]
    content["applications"][0]["autoscaling_policy"] = {"policy_function": APPLICATION_POLICY}
    folder = tmp_path_factory.mktemp("scaled")
    with launched(content, folder, folder / "none") as service, closing(Cluster(service.ray_address)) as cluster:
        yield ScaledService(service, content, folder, cluster)


@pytest.fixture(scope="session")
def client(scaled: ScaledService) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {LOCAL_KEY}"}
    with httpx.Client(base_url=scaled.service.base_url, headers=headers, timeout=90) as client:
        yield client


def is_settled(status: dict[str, Any]) -> bool:
    return all(one["status"] in ("HEALTHY", "RUNNING") for one in status.values())


def synthesize(client: httpx.Client) -> httpx.Response:
    return client.post("/audio/speech", json={"model": SPEECH, "input": "Good morning.", "response_format": "wav"})


def embed(client: httpx.Client) -> httpx.Response:
    return client.post("/embeddings", json={"model": EMBED, "input": "hello"})


def listed(client: httpx.Client) -> set[str]:
    return {model["id"] for model in client.get("/models").json()["data"]}
