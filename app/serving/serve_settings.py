"""The Serve variables of a process, and whether they fit together: the one file that reads Serve's private constants.

Serve reads its variables once, in every process, from the environment in which the node's Ray was started. Nothing in
Serve says where they contradict each other or differ between nodes: bodies fail, streams are cut, clients that leave
are not noticed. So a gateway replica looks before it serves. The right ones stand in cluster/serve.env.
"""

import logging
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import ray
from ray.exceptions import RayError
from ray.serve._private import constants
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from app.config.service import Config
from contract.fields import ConfigError
from contract.options.diffusers import DiffusersOptions

logger = logging.getLogger("portico.serve_settings")

HTTP_CALLBACK = "app.edge:middlewares"
NO_SPLICING = b"-dS"  # the option of HAProxy with which it notices every client that leaves
NEVER_SEEN = "conn-failure"  # no connection could be opened, so no replica has seen the request
ENVELOPE_BYTES = 1 << 20  # what a message between replicas holds beside a body
NODES_SECONDS = 60.0  # for a process to start on every node and answer
REMEDY = "Start Ray on every node with the variables of cluster/serve.env (cluster/with-profile ray start ...)."

# field of ServeSettings -> the variable
VARIABLES = {
    "ha_proxy": "RAY_SERVE_ENABLE_HA_PROXY",
    "throughput_optimized": "RAY_SERVE_THROUGHPUT_OPTIMIZED",
    "grpc_between_replicas": "RAY_SERVE_USE_GRPC_BY_DEFAULT",
    "grpc_message_bytes": "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH",
    "haproxy_binary": "RAY_SERVE_HAPROXY_BINARY_PATH",
    "hard_stop_s": "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S",
    "server_timeout_s": "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S",
    "client_timeout_s": "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S",
    "retry_on": "RAY_SERVE_HAPROXY_RETRY_ON",
    "http_callback": "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH",
}
# What may be another on each node: a path, and what `controller_options` of a configuration adds.
OWN_TO_A_NODE = frozenset({"haproxy_binary", "http_callback"})


@dataclass(frozen=True)
class ServeSettings:
    """The variables that must fit together, as Serve has read them in one process. Sizes in bytes, times in seconds."""

    ha_proxy: bool
    throughput_optimized: bool
    grpc_between_replicas: bool
    grpc_message_bytes: int
    haproxy_binary: str  # empty: the one of the package
    hard_stop_s: int
    server_timeout_s: int | None  # None: no limit
    client_timeout_s: int
    retry_on: str  # what makes HAProxy send a request once more
    http_callback: str | None


def read() -> ServeSettings:
    """Those of this process."""
    return ServeSettings(
        ha_proxy=constants.RAY_SERVE_ENABLE_HA_PROXY,
        throughput_optimized=constants.RAY_SERVE_THROUGHPUT_OPTIMIZED,
        grpc_between_replicas=constants.RAY_SERVE_USE_GRPC_BY_DEFAULT,
        grpc_message_bytes=constants.RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH,
        haproxy_binary=constants.RAY_SERVE_HAPROXY_BINARY_PATH,
        hard_stop_s=constants.RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S,
        server_timeout_s=constants.RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S,
        client_timeout_s=constants.RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S,
        retry_on=constants.RAY_SERVE_HAPROXY_RETRY_ON,
        http_callback=constants.RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH,
    )


def ray_encrypts() -> bool:
    """Whether Ray's own connections are encrypted. Ray reads the variable in the same way."""
    return os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")


def require_fit(config: Config) -> None:
    """Raises ConfigError where this process' variables contradict each other, the configuration, or other nodes'."""
    own = read()
    if faults := faults_of(own, config):
        raise _refusal(faults)
    if faults := differences(own, _of_other_nodes()):
        raise _refusal(faults)


def faults_of(settings: ServeSettings, config: Config) -> list[str]:
    """What does not fit, one sentence each: the variable, what it is, what it must be, why."""
    faults = _of_replicas(settings, config)
    if settings.ha_proxy:
        faults += _of_haproxy(settings, config)
    for model in config.models:
        faults += [
            f"models.{model.id}.env sets {name}, which must be the same in every process. Remove it there."
            for name in model.env
            if name.startswith("RAY_SERVE_")
        ]
    return faults


def _of_replicas(settings: ServeSettings, config: Config) -> list[str]:
    faults = []
    if settings.ha_proxy != settings.throughput_optimized:
        faults.append(
            _fault("throughput_optimized", settings, f"{settings.ha_proxy:d}", "as RAY_SERVE_ENABLE_HA_PROXY is")
        )
    what, largest = max(_messages(config).items(), key=lambda pair: pair[1])
    needed = largest + ENVELOPE_BYTES
    if settings.grpc_between_replicas and settings.grpc_message_bytes < needed:
        why = f"for {what} ({largest} bytes) is one message between replicas"
        faults.append(_fault("grpc_message_bytes", settings, f"{needed} or more", why))
    return faults


def _messages(config: Config) -> dict[str, int]:
    """What may go from replica to replica at once, and its bytes at the most."""
    limits = config.limits
    answers = {
        f"an answer of {model.id}, its max_images of max_pixels,": DiffusersOptions.model_validate(
            model.engine_kwargs
        ).largest_answer_bytes()
        for model in config.models
        if model.engine == "diffusers"
    }
    return answers | {
        "a body of limits.max_body_bytes": limits.max_body_bytes,
        "a body of limits.max_file_bytes": limits.max_file_bytes,
    }


def _of_haproxy(settings: ServeSettings, config: Config) -> list[str]:
    faults = []
    if not _runs_without_splicing(settings.haproxy_binary):
        why = "without its option -dS, clients that leave before the first byte are not noticed"
        faults.append(_fault("haproxy_binary", settings, "the absolute path of cluster/haproxy", why))
    silent = config.limits.first_byte_timeout_s
    if settings.hard_stop_s < silent:
        why = "for HAProxy ends what is older when it reloads, and limits.first_byte_timeout_s may be that long"
        faults.append(_fault("hard_stop_s", settings, f"{silent:g} or more", why))
    if settings.server_timeout_s is not None and settings.server_timeout_s < silent:
        why = "for limits.first_byte_timeout_s lets an answer be silent that long"
        faults.append(_fault("server_timeout_s", settings, f"{silent:g} or more", why))
    pause = max(config.limits.write_stall_timeout_s, config.limits.body_pause_timeout_s)
    if settings.client_timeout_s < pause:
        why = "for limits.write_stall_timeout_s or body_pause_timeout_s lets a client pause that long"
        faults.append(_fault("client_timeout_s", settings, f"{pause:g} or more", why))
    if settings.retry_on != NEVER_SEEN:
        why = "or a request that has ended one replica is given to another"
        faults.append(_fault("retry_on", settings, NEVER_SEEN, why))
    if settings.http_callback != HTTP_CALLBACK:
        why = "or Serve's own failures reach clients as plain text"
        faults.append(_fault("http_callback", settings, HTTP_CALLBACK, why))
    return faults


def _runs_without_splicing(binary: str) -> bool:
    """Whether the binary is a wrapper that passes the option on."""
    try:
        return bool(binary) and NO_SPLICING in Path(binary).read_bytes()[:4096]
    except OSError:
        return False


def differences(own: ServeSettings, others: dict[str, ServeSettings]) -> list[str]:
    """Where nodes have other values than this one; `others` by the node's address."""
    faults = []
    for address, settings in others.items():
        for field in fields(ServeSettings):
            here, there = (asdict(one)[field.name] for one in (own, settings))
            if here != there and field.name not in OWN_TO_A_NODE:
                name = VARIABLES[field.name]
                faults.append(f"{name} is {_shown(there)} on the node {address}, and {_shown(here)} here.")
    return faults


def _of_other_nodes() -> dict[str, ServeSettings]:
    """The settings of every other node that is up now. A node that does not answer is left out."""
    here = ray.get_runtime_context().get_node_id()
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    nodes.pop(here, None)
    if not nodes:
        return {}
    ask = ray.remote(read)
    asked = {
        ask.options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(): address
        for node, address in nodes.items()
    }
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=NODES_SECONDS)
    found = {}
    for reference in answered:
        try:
            found[asked[reference]] = ray.get(reference)
        except RayError:  # it has left meanwhile
            silent.append(reference)
    if silent:
        addresses = ", ".join(asked[reference] for reference in silent)
        logger.warning("these nodes did not report their Serve variables: %s", addresses)
    return found


def _fault(field: str, settings: ServeSettings, right: str, why: str) -> str:
    return f"{VARIABLES[field]} is {_shown(getattr(settings, field))} and must be {right}, {why}."


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return "not set" if value in (None, "") else str(value)


def _refusal(faults: list[str]) -> ConfigError:
    return ConfigError("\n".join(["The Serve variables do not fit:", *faults, REMEDY]))
