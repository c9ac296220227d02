"""Machines of a cluster, all on this one: each a Ray of its own, started as in production, and a HAProxy of its own."""

import os
import secrets
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from app.commands.serve import ON_LOOPBACK
from contract.project import PROJECT_FOLDER
from tests.conftest import Service
from tests.own_ports import free_port, haproxy_variables
from tests.reliability.system import command_of

PROFILE = str(PROJECT_FOLDER / "cluster" / "with-profile")
RAY, SERVE, PORTICO = (str(Path(sys.executable).with_name(name)) for name in ("ray", "serve", "portico"))
LOOPBACK, ELSEWHERE = "127.0.0.1", ("192.0.2.1", 9)  # an address of documentation; nothing is sent to it
NAME = "PORTICO_TEST_MACHINE"  # the variable by which the processes of a machine are known
GATEWAY_LABEL = {"portico.io/role": "gateway"}
WORKER_CPUS = 4
LISTEN_SECONDS, KILLED_SECONDS = 180, 10
# What KubeRay sets where Redis is behind the head: for so long the others wait for a head that is away.
RECONNECT = {"RAY_gcs_rpc_server_reconnect_timeout_s": "600"}


def own_address() -> str:
    """Where other machines would reach this one. Ray takes that for a node even where it is told loopback."""
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(ELSEWHERE)
        except OSError:
            return LOOPBACK
        return str(probe.getsockname()[0])


class Machine:
    """One machine, with one node of the cluster. It is started in a folder of its own."""

    def __init__(self, name: str, folder: Path, environment: dict[str, str], arguments: list[str]) -> None:
        """`environment` is that of all machines; `arguments` are those of `ray start` for this one."""
        self.name = name
        self.port = free_port()  # of its HAProxy
        own = folder / name
        own.mkdir()
        self._log = own / "log"
        self._environment = environment | haproxy_variables(own) | {
            NAME: name,
            "RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(self.port),
            "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        }  # fmt: skip
        self._command = [
            PROFILE, RAY, "start", "--block", f"--node-ip-address={own_address()}", "--min-worker-port=0",
            "--max-worker-port=0", f"--object-store-memory={150 * 2**20}",
            f"--dashboard-agent-listen-port={free_port()}", "--include-log-monitor=false", *arguments,
        ]  # fmt: skip

    def start(self) -> "Machine":
        with self._log.open("ab") as log:
            self.ray = psutil.Popen(
                self._command, cwd=PROJECT_FOLDER, env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )
        return self

    def processes(self) -> list[psutil.Process]:
        """All that run on it: those below `ray start`, and those that this has left alone."""
        below = self.ray.children(recursive=True) if self.ray.is_running() else []
        return list(
            {one.pid: one for one in [self.ray, *below, *filter(self._is_here, psutil.process_iter())]}.values()
        )

    def _is_here(self, process: psutil.Process) -> bool:
        try:
            found = process.environ()
        except psutil.Error:
            return False
        return found.get(NAME) == self.name and found.get("RAY_TMPDIR") == self._environment["RAY_TMPDIR"]

    def kill(self) -> None:
        """As if it had lost its power."""
        for one in self.processes():
            with suppress(psutil.NoSuchProcess):
                one.kill()

    def terminate(self) -> None:
        """SIGTERM for what was started, as whoever takes the machine away sends."""
        self.ray.terminate()

    def runs(self, name: str) -> bool:
        return any(command_of(one).startswith(name) for one in self.processes())

    def log(self) -> str:
        return self._log.read_text()[-5000:]


class Redis:
    """A Redis in which the head keeps what it knows."""

    def __init__(self, folder: Path) -> None:
        self.port, self.password = free_port(), secrets.token_hex(16)
        self._process = subprocess.Popen(  # as cluster/helm/portico/templates/redis.yaml starts it
            [
                "redis-server", "--port", str(self.port), "--bind", LOOPBACK, "--dir", str(folder),
                "--appendonly", "yes", "--maxmemory-policy", "noeviction", "--requirepass", self.password,
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@dataclass
class Machines(Service):
    """A service on a cluster of a head without work and two workers; its port is that of the first worker's HAProxy."""

    head: Machine = field(kw_only=True)
    workers: list[Machine] = field(kw_only=True)
    environment: dict[str, str] = field(kw_only=True)
    gcs: str = field(kw_only=True)  # Ray's address
    number: int = 2  # of workers so far

    @property
    def ray_address(self) -> str:
        return self.gcs

    def processes(self) -> list[psutil.Process]:
        return [process for one in (self.head, *self.workers) for process in one.processes()]

    def run(self, *command: str) -> str:
        """Run a command on the head, with the variables of production."""
        done = subprocess.run(
            [PROFILE, *command], cwd=PROJECT_FOLDER, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def wait_joined(self) -> None:
        """Wait until every worker is a node: what is deployed before is placed without those that are late.

        On a busy machine Ray gives a start up; then it is started again, as whatever runs a node's Ray would.
        """
        deadline = time.monotonic() + LISTEN_SECONDS
        while (status := self.run(RAY, "status", f"--address={self.gcs}")).count(" node_") < 1 + len(self.workers):
            assert time.monotonic() < deadline, status + "".join(one.log() for one in self.workers)
            for worker in self.workers:
                if worker.ray.poll() is not None:
                    worker.start()
            time.sleep(1)

    def close(self) -> None:
        for one in (*self.workers, self.head):
            one.kill()
        psutil.wait_procs([one.ray for one in (*self.workers, self.head)], timeout=KILLED_SECONDS)

    def start_head(self) -> None:
        """Again, where it has been killed: as another machine, which knows of no cluster that runs on it."""
        (self.ray_folder / "ray" / "ray_current_cluster").unlink(missing_ok=True)
        self.process = self.head.start().ray
        wait_listening(self.head, int(self.gcs.rpartition(":")[2]))

    def join(self) -> Machine:
        """Another worker."""
        self.number += 1
        self.workers.append(worker(f"w{self.number}", self.ray_folder, self.environment, self.gcs).start())
        return self.workers[-1]


def worker(name: str, folder: Path, environment: dict[str, str], gcs: str) -> Machine:
    label = ",".join(f"{key}={value}" for key, value in GATEWAY_LABEL.items())
    return Machine(name, folder, environment, [f"--address={gcs}", f"--num-cpus={WORKER_CPUS}", f"--labels={label}"])


def started(folder: Path, redis: Redis | None) -> Machines:
    """The cluster, with nothing on it yet. `folder` is short: Ray puts sockets there."""
    gcs, dashboard = free_port(), free_port()
    # ON_LOOPBACK is for a Ray of one machine; here --node-ip-address does it.
    others = {"RAY_ADDRESS", "RAY_AUTH_MODE", *ON_LOOPBACK}
    environment = {name: value for name, value in os.environ.items() if name not in others}
    environment |= RECONNECT | {
        "RAY_TMPDIR": str(folder), "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_DEDUP_LOGS": "0",
        "RAY_DASHBOARD_ADDRESS": f"http://{LOOPBACK}:{dashboard}",
    }  # fmt: skip
    arguments = [
        "--head", "--num-cpus=0", f"--port={gcs}", f"--dashboard-host={LOOPBACK}", f"--dashboard-port={dashboard}",
        f"--ray-client-server-port={free_port()}",
    ]  # fmt: skip
    of_head = environment
    if redis is not None:
        arguments.append(f"--redis-password={redis.password}")
        of_head = environment | {
            "RAY_REDIS_ADDRESS": f"{LOOPBACK}:{redis.port}", "RAY_external_storage_namespace": folder.name
        }  # fmt: skip
    head = Machine("head", folder, of_head, arguments).start()
    try:
        wait_listening(head, gcs, dashboard)
    except BaseException:
        head.kill()
        raise
    address = f"{own_address()}:{gcs}"
    workers = [worker(name, folder, environment, address).start() for name in ("w1", "w2")]
    return Machines(
        workers[0].port, head.ray, folder / "head" / "log", folder / "none", folder, head=head, workers=workers,
        environment=environment, gcs=address,
    )  # fmt: skip


def wait_listening(machine: Machine, *ports: int) -> None:
    deadline = time.monotonic() + LISTEN_SECONDS
    while not set(ports) <= _listening():
        assert machine.ray.poll() is None, machine.log()
        assert time.monotonic() < deadline, machine.log()
        time.sleep(0.2)


def _listening() -> set[int]:
    return {one.laddr.port for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN}
