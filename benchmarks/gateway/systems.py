"""The systems that are compared: how each is started, and where it is then."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from app.commands.serve import ON_LOOPBACK
from app.keys import LOCAL_KEY
from benchmarks.gateway.environments import packages_of, programs_of, version_of
from benchmarks.gateway.processes import ProcessTree, kind_in_serve, kind_of_a_peer
from benchmarks.gateway.scenarios import Scenario
from benchmarks.service import LOCAL_CONFIG, TINY_CONFIG, config_entry
from contract.project import PROJECT_FOLDER
from tests.own_ports import free_port, haproxy_variables

START_SECONDS = 180
HOST = "127.0.0.1"
MODEL = "echo"
ECHOES = "benchmarks.gateway.engine:build"
STOCK = "benchmarks.gateway.stock:build"
TOKENIZER_OF = "smollm2-135m-instruct"  # the gateway counts the tokens of a prompt that is not long
PROFILE = PROJECT_FOLDER / "cluster" / "with-profile"
SERVE = Path(sys.executable).with_name("serve")
# Of cluster/serve.env, what makes Serve fast; the rest is for this gateway.
FAST_SERVE = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    "RAY_SERVE_HAPROXY_LOG_TARGET": "/dev/null",
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": "134217728",
}


PROBE = Scenario("probe", clients=1)


class System(NamedTuple):
    """One that runs."""

    port: int
    processes: ProcessTree
    key: str = LOCAL_KEY

    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    def get(self, path: str) -> bytes:
        """Raises urllib.error.URLError."""
        with urllib.request.urlopen(f"http://{HOST}:{self.port}{path}", timeout=30) as answer:
            return bytes(answer.read())

    def post(self, scenario: Scenario) -> bytes:
        """Raises urllib.error.URLError."""
        headers = self.headers() | {"content-type": "application/json"}
        url = f"http://{HOST}:{self.port}/v1/chat/completions"
        request = urllib.request.Request(url, scenario.body(MODEL), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - ours
            return bytes(answer.read())


@contextmanager
def started(
    command: Sequence[str | Path], port: int, folder: Path, kind_of: Callable[[str], str], environment: dict[str, str]
) -> Iterator[System]:
    """A command that serves at `port`, and ends with the block. Its output is in `folder`, in `log`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own commands
            command,
            cwd=PROJECT_FOLDER,
            env=inherited | {"PYTHONPATH": str(PROJECT_FOLDER)} | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    tree = ProcessTree(process, kind_of, str(folder))
    try:
        yield System(port, tree)
    finally:
        tree.stop()


@contextmanager
def own_folder() -> Iterator[Path]:
    """Short: Ray puts sockets there, whose paths are bounded."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_until(ask: Callable[[], Any], system: System, folder: Path) -> None:
    """Wait until `ask` is answered. Raises RuntimeError with the end of the log."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and system.processes.root.poll() is None:
        try:
            ask()
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise RuntimeError("it did not start:\n" + (folder / "log").read_text(errors="replace")[-4000:])


def content_of(application: str, args: dict[str, Any], port: int) -> dict[str, Any]:
    """A Serve config file in the form of tiny.yaml."""
    content: dict[str, Any] = yaml.safe_load(TINY_CONFIG.read_text())
    content["http_options"]["port"] = port
    content["applications"] = [{"name": "benchmark", "route_prefix": "/", "import_path": application, "args": args}]
    return content


def gateway_args(*models: dict[str, Any]) -> dict[str, Any]:
    """This gateway's configuration with one ingress replica, and a key whose budget no load uses up."""
    args: dict[str, Any] = yaml.safe_load(TINY_CONFIG.read_text())["applications"][0]["args"]
    args["keys"][0]["budget"] = {"requests_per_minute": 100_000_000}
    return args | {"models": [*models]}


def echo_entry() -> dict[str, Any]:
    """An entry of a chat model whose prompts are counted by a real tokenizer."""
    source = config_entry(LOCAL_CONFIG, TOKENIZER_OF)["source"]
    entry = {"id": MODEL, "task": "chat", "engine": "vllm", "source": source}
    return entry | {"scaling": {"max_ongoing_requests": 512}, "resources": {"num_cpus": 0.1}}


@contextmanager
def gateway(application: str, args: dict[str, Any], *, production: bool) -> Iterator[System]:
    """This gateway, as `portico serve` runs it; in production under cluster/with-profile."""
    with own_folder() as folder:
        port = free_port()
        usage = {"database": f"sqlite:///{folder}/usage.db"}  # not in the ledger of who runs this
        content = content_of(application, {"usage": usage} | args, port)
        if production:
            content["proxy_location"] = "EveryNode"
        config = folder / "serve.yaml"
        config.write_text(yaml.safe_dump(content))
        command: list[str | Path] = [*((PROFILE,) if production else ()), sys.executable, "-m", "app", "serve", config]
        with started(command, port, folder, kind_in_serve, ray_variables(folder)) as system:
            wait_until(lambda: system.get("/ready"), system, folder)
            yield system


@contextmanager
def serve_run(application: str, variables: dict[str, str]) -> Iterator[System]:
    """An application of Serve's without anything of this gateway's, as `serve run` runs it."""
    with own_folder() as folder:
        port = free_port()
        content = content_of(application, {}, port)
        del content["controller_options"]
        config = folder / "serve.yaml"
        config.write_text(yaml.safe_dump(content))
        environment = ray_variables(folder) | ON_LOOPBACK | variables
        with started([SERVE, "run", config], port, folder, kind_in_serve, environment) as system:
            wait_until(lambda: system.post(PROBE), system, folder)
            yield system


def ray_variables(folder: Path) -> dict[str, str]:
    """What a Ray of its own needs beside others on this machine."""
    return {
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
    } | haproxy_variables(folder)


@contextmanager
def bare_echo() -> Iterator[System]:
    with own_folder() as folder:
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "benchmarks.gateway.echo:application", "--lifespan=off"]
        command += ["--no-access-log", f"--port={port}", "--interface=asgi3"]
        with started(command, port, folder, kind_of_a_peer, {}) as system:
            wait_until(lambda: system.post(PROBE), system, folder)
            yield system


@contextmanager
def litellm() -> Iterator[System]:
    """LiteLLM's proxy with one worker and a master key, before the bare echo."""
    programs = programs_of("litellm")
    with own_folder() as folder, bare_echo() as echo:
        port = free_port()
        upstream = {"model": f"openai/{MODEL}", "api_base": f"http://{HOST}:{echo.port}/v1", "api_key": "none"}
        content = {
            "model_list": [{"model_name": MODEL, "litellm_params": upstream}],
            "general_settings": {"master_key": LOCAL_KEY},
            "litellm_settings": {"telemetry": False},
        }
        config = folder / "litellm.yaml"
        config.write_text(yaml.safe_dump(content))
        command: list[str | Path] = [
            programs / "litellm",
            "--config",
            config,
            "--host",
            HOST,
            "--port",
            str(port),
            "--num_workers",
            "1",
        ]
        environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "PYTHONPATH": ""}
        with started(command, port, folder, kind_of_a_peer, environment) as system:
            wait_until(lambda: system.post(PROBE), system, folder)
            yield system


@contextmanager
def vllm_router() -> Iterator[System]:
    """vLLM's router, in Rust, before the bare echo. It checks no key and parses as little as it can."""
    programs = programs_of("vllm-router")
    with own_folder() as folder, bare_echo() as echo:
        port = free_port()
        command: list[str | Path] = [
            programs / "vllm-router",
            "--worker-urls",
            f"http://{HOST}:{echo.port}",
            "--policy",
            "round_robin",
        ]
        command += ["--host", HOST, "--port", str(port), "--log-level", "warning"]
        command += ["--prometheus-host", HOST, "--prometheus-port", str(free_port())]
        with started(command, port, folder, kind_of_a_peer, {"PYTHONPATH": ""}) as system:
            wait_until(lambda: system.post(PROBE), system, folder)
            yield system


def echo_gateway(*, production: bool) -> AbstractContextManager[System]:
    return gateway(ECHOES, gateway_args(echo_entry()), production=production)


def direct_streaming() -> AbstractContextManager[System]:
    """ray.serve.llm, whose HAProxy asks a router of its own for a replica, and then talks to that."""
    paths = {"PYTHONPATH": os.pathsep.join([str(PROJECT_FOLDER), str(packages_of("ray-llm"))])}
    variables = FAST_SERVE | paths | {"RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING": "1"}
    return serve_run("benchmarks.gateway.direct_streaming:build", variables)


class Entry(NamedTuple):
    """A system that can be measured."""

    title: str
    start: Callable[[], AbstractContextManager[System]]
    is_ours: bool = False


BARE_ECHO = "echo"
SYSTEMS = {
    BARE_ECHO: Entry("bare echo on uvicorn", bare_echo),
    "vllm-router": Entry(f"vllm-router {version_of('vllm-router')}, in Rust", vllm_router),
    "portico": Entry("**this gateway**", partial(echo_gateway, production=True), is_ours=True),
    "portico-local": Entry("this gateway, local profile", partial(echo_gateway, production=False), is_ours=True),
    "serve-llm": Entry("ray.serve.llm, direct streaming", direct_streaming),
    "serve-fastapi": Entry("Ray Serve with FastAPI, HAProxy and gRPC", partial(serve_run, STOCK, FAST_SERVE)),
    "serve-fastapi-local": Entry("Ray Serve with FastAPI, as it is", partial(serve_run, STOCK, {})),
    "litellm": Entry(f"LiteLLM {version_of('litellm')}, one worker", litellm),
}
