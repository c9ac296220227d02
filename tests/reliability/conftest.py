"""One service for all faults of a profile: tiny models of every task of the load, two replicas of the gateway.

The profile is production's, with HAProxy, or Serve's own proxy where RAY_SERVE_ENABLE_HA_PROXY=0.
"""

import copy
import os
import secrets
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.commands.production_profile import SWITCH
from contract.project import PROJECT_FOLDER
from tests.conftest import entry_of, launched
from tests.reliability.kinds import CHAT, EMBED, IMAGE, SPEECH, WHISPER
from tests.reliability.system import System
from tests.reliability.table import HAPROXY, PYTHON
from tests.scaling.conftest import Cluster, ScaledService

FAULT_SECONDS = 600  # until a fault is over, in which its load runs for a minute and longer
CHATS, GATEWAYS = 2, 2  # replicas
WAKE_S = 15.0
# Short enough for a test to wait for, long enough for a machine that starts engines meanwhile.
LIMITS = {
    "first_byte_timeout_s": 60, "stream_idle_timeout_s": 20, "wake_timeout_s": WAKE_S, "ping_interval_s": 5,
    "write_stall_timeout_s": 10, "body_pause_timeout_s": 10, "stream_buffer_bytes": 1024 * 1024,
}  # fmt: skip
STALL_S = 10.0  # of an engine at work that makes no step
# Longer than a stream of the load takes on a machine that is full. Nobody waits for it but where a stream does.
DRAIN_S = 180.0
DISK_BYTES = 2**20  # of images and of snapshots
BUDGET = {"requests_per_minute": 60_000, "concurrent_requests": 2000}
PROFILE = PYTHON if os.environ.get(SWITCH) == "0" else HAPROXY


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever is here takes minutes, and is deselected by default."""
    for item in items:
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("soak") is None:
            item.add_marker(pytest.mark.reliability)
            item.add_marker(pytest.mark.timeout(FAULT_SECONDS))


def configuration(folder: Path) -> dict[str, Any]:
    """tiny.yaml with short limits; what the gateway and the budget store write lies in `folder`."""
    content: dict[str, Any] = yaml.safe_load((PROJECT_FOLDER / "serve_configs" / "tiny.yaml").read_text())
    args = content["applications"][0]["args"]
    models = [copy.deepcopy(entry_of(args["models"], one)) for one in (CHAT, EMBED, SPEECH, WHISPER, IMAGE)]
    for entry in models:
        entry["resources"] = {"num_cpus": 0.05}  # all of them share few cores, also while an update has two of each
        entry["scaling"] = entry.get("scaling", {}) | {"drain_timeout_s": DRAIN_S}
    chat = models[0]
    chat["scaling"] |= {"min_replicas": CHATS, "max_replicas": CHATS}
    chat["engine_stall_timeout_s"] = STALL_S
    secret = folder / "secret"
    secret.write_bytes(secrets.token_bytes(32))
    secret.chmod(0o600)
    args["models"] = models
    args["keys"][0]["budget"] = BUDGET
    args["limits"] = LIMITS
    args["ingress"] = {"replicas": GATEWAYS, "num_cpus": 0.05, "drain_timeout_s": DRAIN_S}
    args["budgets"] = {"snapshot": str(folder / "snapshots" / "budgets.json")}
    args["kept_images"] = {"location": str(folder / "images"), "secret_file": str(secret), "lifetime_s": 60}
    return content


def mount_small_disk(folder: Path) -> bool:
    """Whether `folder` is now a disk of a megabyte, which takes root."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="session")
def running() -> Iterator[System]:
    with tempfile.TemporaryDirectory(prefix="portico-") as name:
        folder = Path(name)
        images, snapshots = folder / "images", folder / "snapshots"
        with ExitStack() as stack:
            small = []
            for one in (images, snapshots):
                one.mkdir(mode=0o700)
                if mount_small_disk(one):
                    stack.callback(subprocess.run, ["umount", "--lazy", str(one)], check=True)
                    small.append(one)
            content = configuration(folder)
            service = stack.enter_context(launched(content, folder, folder / "none"))
            cluster = stack.enter_context(closing(Cluster(service.ray_address)))
            scaled = ScaledService(service, content, folder, cluster)
            yield System(scaled, PROFILE, images, snapshots, has_small_disks=len(small) == 2)


@pytest.fixture
async def system(running: System) -> AsyncIterator[System]:
    """The service, whole; a test that has broken it does not break the next."""
    await running.wait_whole()
    yield running
    await running.wait_whole()
