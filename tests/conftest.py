"""The running services, each shared by every test that needs it: `python -m app serve` on a copy of a configuration.

`service` is tiny.yaml with two more language models: one takes images, reasons before it answers, and cannot call
tools; one speculates. `local_service`, in tests/local, is local.yaml.
"""

import atexit
import copy
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import psutil
import pytest
import yaml
from hypothesis import HealthCheck
from xdist.scheduler import LoadScopeScheduling

from app.__main__ import main
from app.commands import serve_log
from app.commands.serve import ON_LOOPBACK
from app.keys import LOCAL_KEY
from contract.project import PROJECT_FOLDER
from local_models import checker
from tests.otlp_receiver import OtlpReceiver
from tests.own_ports import free_port
from tests.sample_images import IMAGE_BOUNDS, ImageServer
from tests.token_issuer import LocalIssuer, issuing

START_SECONDS = 400
PRINT_SECONDS = 20
STOP_SECONDS = 25  # a quiet machine takes less than ten: see tests/scaling/test_stopping.py
CARRIER = os.environ.get("PORTICO_TEST_CARRIER", "connections")  # `ingress.carrier` of `service`
STREAM_BUFFER_BYTES = 1024 * 1024  # small, so that a client that stops to read is soon too far behind
# Fixtures; no other has these names: a shared service would run on until the last test of that one.
SHARED_SERVICES = ("service", "local_service")
# What starts Ray is run by one process, one after the other: two at once would hold up what tests measure in seconds,
# and the shared services are there once. All else is shared out by file.
WITH_RAY = (
    "tests/local/",
    "tests/contract/",
    "tests/console/",
    "tests/clients/",
    "tests/faults/",
    "tests/cluster/test_three_nodes.py",
    "tests/cluster/test_haproxy",
    "tests/cluster/test_node.py",
    "tests/cluster/test_controller.py",
    "tests/scaling/",
)
UNTIL_UNUSED = pytest.StashKey[dict[str, ExitStack]]()

# How long an example takes says nothing on a machine that has other work.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")
# A cluster that Ray starts by itself requires a token; a driver that joins it by address sends one only in this mode,
# and Ray reads this before its first use.
os.environ["RAY_AUTH_MODE"] = "token"
# Every Ray of the tests is on loopback, as that of a local service, which a driver joins only where it is so, too.
os.environ |= ON_LOOPBACK
# Ray's workers are as important as the engines of the tests beside them; Ray would have them wait for all others.
os.environ |= {"RAY_worker_niceness": "0"}
# Each run has a usage ledger of its own, where the configuration names no database.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="portico-state-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)


@dataclass
class Service:
    """A running service: where it is, and what it printed."""

    port: int
    process: subprocess.Popen[bytes]
    printed: Path
    key_file: Path
    ray_folder: Path  # where Ray's logs and sockets are
    was_broken: bool = False  # a test has killed parts of it, so that it may log tracebacks
    log_read: int = 0  # bytes that were looked through for tracebacks

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def output(self) -> str:
        """What the command has printed so far."""
        return self.printed.read_text()

    @property
    def log(self) -> Path:
        """What Ray, Serve and the engines print, and the gateway's line for each request."""
        return serve_log.path_of(self.port)

    @property
    def logged(self) -> str:
        """What is there so far, without colours."""
        return re.sub(r"\x1b\[\d+m", "", self.log.read_text(errors="replace"))

    def assert_no_new_traceback(self) -> None:
        new = self.log.read_bytes()[self.log_read :]
        self.log_read += len(new)
        before, traceback, after = new.decode(errors="replace").partition("Traceback")
        assert self.was_broken or not traceback, f"in the log: {before[-2000:]}{traceback}{after[:6000]}"

    @property
    def ray_address(self) -> str:
        """The address of its cluster, from the command line of one of its processes."""
        arguments = [argument for process in self.processes() for argument in process.cmdline()]
        return next(a.partition("=")[2] for a in arguments if a.startswith("--gcs-address="))

    def processes(self) -> list[psutil.Process]:
        """Everything that it has started on this machine."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def wait_ready(self) -> None:
        wait_ready(self.port, self.process, self.printed, START_SECONDS)

    def wait_printed(self, text: str, seconds: float = PRINT_SECONDS) -> None:
        """Wait for what the command prints once it has seen that too: it asks twice a second, for 5 s at most."""
        deadline = time.monotonic() + seconds
        while text not in self.output:
            assert time.monotonic() < deadline, f"it has not printed {text!r}:\n{self.output[-5000:]}"
            time.sleep(0.2)

    def stop(self) -> list[str]:
        """Ctrl-C. Returns what is left running. No request may be under way."""
        started = self.processes()
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(STOP_SECONDS) == 0
        return [process.name() for process in started if process.is_running() and process.status() != "zombie"]


def wait_ready(port: int, process: subprocess.Popen[bytes] | psutil.Popen, log: Path, seconds: float) -> None:
    """Wait until the service that `process` runs at `port` is ready; it writes to `log`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the service ended:\n{log.read_text()[-5000:]}"
        try:
            if httpx.get(f"http://127.0.0.1:{port}/ready", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise TimeoutError(f"the service is not ready after {seconds} s:\n{log.read_text()[-5000:]}")


def vision_entry(chat_entry: dict[str, Any]) -> dict[str, Any]:
    """pocket-vision, run as tiny.yaml runs its chat model."""
    entry = copy.deepcopy(chat_entry)
    entry |= {"id": "pocket-vision", "source": "./local_models/pocket-vision"}
    entry["packages"] = ["./.venv/vision", "./tests/cpu_vision"]
    for name in ("enable_auto_tool_choice", "tool_call_parser"):
        del entry["engine_kwargs"][name]
    entry["engine_kwargs"]["reasoning_parser"] = "deepseek_r1"
    return entry


def speculating_entry(chat_entry: dict[str, Any]) -> dict[str, Any]:
    """pocket-chat, which leaves to `auto` how it speculates."""
    return copy.deepcopy(chat_entry) | {"id": "pocket-fast", "speculation": "auto"}


def reranking_entry(embedding_entry: dict[str, Any]) -> dict[str, Any]:
    """pocket-rerank, run as tiny.yaml runs its embedding model."""
    entry = copy.deepcopy(embedding_entry)
    entry |= {"id": "pocket-rerank", "task": "rerank", "source": "./local_models/pocket-rerank"}
    return entry | {"engine_kwargs": {"device": "cpu"}}


def flux_entry(image_entry: dict[str, Any]) -> dict[str, Any]:
    """pocket-flux, run as tiny.yaml runs its image model, with a safety checker."""
    entry = copy.deepcopy(image_entry)
    entry |= {"id": "pocket-flux", "source": "./local_models/pocket-flux"}
    entry["engine_kwargs"] = {
        "device": "cpu",
        "steps": checker.STEPS,
        "default_size": "64x64",
        "safety_checker": str(PROJECT_FOLDER / "local_models" / "pocket-checker"),
    }
    return entry


def voice_entry(speech_entry: dict[str, Any], engine: str) -> dict[str, Any]:
    """pocket-vits or pocket-bark, run as tiny.yaml runs its own voice."""
    entry = copy.deepcopy(speech_entry)
    environment = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "TQDM_DISABLE": "1"}
    entry |= {"id": f"pocket-{engine}", "engine": engine, "source": f"./local_models/pocket-{engine}"}
    entry |= {"env": environment, "engine_kwargs": {"device": "cpu", "max_characters": 500}}
    return entry


def entry_of(models: list[dict[str, Any]], model_id: str) -> dict[str, Any]:
    return next(entry for entry in models if entry["id"] == model_id)


@pytest.fixture(scope="session")
def image_server() -> Iterator[ImageServer]:
    with ImageServer() as server:
        yield server


@pytest.fixture(scope="session")
def trace_receiver() -> Iterator[OtlpReceiver]:
    """Where `service` sends its spans."""
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def token_issuer() -> Iterator[LocalIssuer]:
    with issuing() as issuer:
        yield issuer


@contextmanager
def launched(content: dict[str, Any], folder: Path, key_file: Path) -> Iterator[Service]:
    """`content` as `make serve` runs it, ready, on a free port and a Ray cluster of its own; killed in the end."""
    with begun(content, folder, key_file) as running:
        running.wait_ready()
        running.wait_printed("Portico is ready.")
        yield running


@contextmanager
def begun(content: dict[str, Any], folder: Path, key_file: Path) -> Iterator[Service]:
    """As `launched`, from the moment in which it is started."""
    port = free_port()
    content["http_options"]["port"] = port
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(content))
    ray_folder = Path(tempfile.mkdtemp(prefix="portico-"))  # short: Ray puts sockets there, whose paths are bounded
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with (folder / "printed").open("wb") as printed:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "app", "serve", str(config)],
            cwd=PROJECT_FOLDER,
            env=environment | {"RAY_TMPDIR": str(ray_folder), "PYTHONUNBUFFERED": "1"},
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
    running = Service(port, process, folder / "printed", key_file, ray_folder)
    try:
        yield running
    finally:
        if process.poll() is None:
            for started in [*running.processes(), psutil.Process(process.pid)]:
                with suppress(psutil.NoSuchProcess):  # it ended with another
                    started.kill()
            process.wait()
        shutil.rmtree(ray_folder, ignore_errors=True)


@pytest.fixture(scope="session")
def service(
    image_server: ImageServer,
    trace_receiver: OtlpReceiver,
    token_issuer: LocalIssuer,
    tmp_path_factory: pytest.TempPathFactory,
    until_unused: dict[str, ExitStack],
) -> Service:
    """tiny.yaml, with models of the tests beside its own."""
    content = yaml.safe_load((PROJECT_FOLDER / "serve_configs" / "tiny.yaml").read_text())
    args = content["applications"][0]["args"]
    models = args["models"]
    image_entry = entry_of(models, "pocket-image")
    chat_entry = entry_of(models, "pocket-chat")
    models.append(reranking_entry(entry_of(models, "pocket-embed")))
    models += [vision_entry(chat_entry), speculating_entry(chat_entry), flux_entry(image_entry)]
    models += [voice_entry(entry_of(models, "pocket-speech"), engine) for engine in ("vits", "bark")]
    for entry in models:
        entry["resources"] = {"num_cpus": 0.1}  # all of them share few cores
    image_entry["engine_kwargs"]["quality"]["high"] = 2000  # so that a client can disconnect while it works
    args["input_images"] = {"allowed_domains": [image_server.host], "allowed_networks": ["127.0.0.0/8"]} | IMAGE_BOUNDS
    args["limits"] = args.get("limits", {}) | {"stream_buffer_bytes": STREAM_BUFFER_BYTES}
    args["ingress"] = args.get("ingress", {}) | {"carrier": CARRIER}
    args["logging"] = {"format": "json"}
    content["logging_config"]["encoding"] = "JSON"
    chat_entry["log_level"] = "debug"  # no level may show a text of a request
    args["tracing"] = {"endpoint": trace_receiver.endpoint}
    folder = tmp_path_factory.mktemp("service")
    key_file = folder / "keys.json"
    main(["keys", "create", "--file", str(key_file), "--name", "first"])
    args["key_file"] = str(key_file)
    args["token_issuers"] = [
        token_issuer.entry(rules=[{"claim": "groups", "value": "chat", "pipelines": ["pocket-chat"]}])
    ]
    return shared(content, folder, key_file, until_unused["service"])


def shared(content: dict[str, Any], folder: Path, key_file: Path, until_unused: ExitStack) -> Service:
    """A service that runs until `until_unused` is closed, and then stops as it should."""
    running = until_unused.enter_context(launched(content, folder, key_file))
    until_unused.callback(assert_stops, running)
    return running


def assert_stops(service: Service) -> None:
    assert service.stop() == [], "Ctrl-C left processes behind"
    service.assert_no_new_traceback()


@pytest.fixture(autouse=True)
def no_traceback(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test sends, a shared service logs no traceback. Ray forwards logs late: the next test may fail."""
    used = [request.getfixturevalue(name) for name in SHARED_SERVICES if name in request.fixturenames]
    yield
    for service in used:
        service.was_broken |= "faults" in request.node.path.parts
        service.assert_no_new_traceback()


@pytest.fixture(scope="session")
def until_unused(request: pytest.FixtureRequest) -> Iterator[dict[str, ExitStack]]:
    """For each shared service, what is closed after the last test that needs it: idle, it still takes much of a core.

    The order of the tests (`testpaths`) has no test of one among those of another, so that no two run at once.
    """
    with ExitStack() as whole_run:
        stacks = {name: whole_run.enter_context(ExitStack()) for name in SHARED_SERVICES}
        request.config.stash[UNTIL_UNUSED] = stacks
        yield stacks


class Schedule(LoadScopeScheduling):
    """Tests with Ray in one process, one after the other; those without, beside them, by file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "Ray" if file.startswith(WITH_RAY) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Schedule:
    return Schedule(config, log)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if nextitem is None:
        return  # the fixtures end now
    for name, stack in item.config.stash.get(UNTIL_UNUSED, {}).items():
        if item is _last_user(item.session, name):
            stack.close()


def _last_user(session: pytest.Session, service: str) -> pytest.Item | None:
    """The last test that needs that shared service."""
    users = (item for item in reversed(session.items) if service in getattr(item, "fixturenames", ()))
    return next(users, None)


@pytest.fixture(scope="session")
def http(service: Service) -> Iterator[httpx.Client]:
    """A plain HTTP client with the local key."""
    headers = {"authorization": f"Bearer {LOCAL_KEY}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{service.port}", headers=headers, timeout=60) as client:
        yield client
