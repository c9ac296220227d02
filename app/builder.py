"""Builds the Serve application of a configuration: `import_path: app.builder:build`."""

import warnings
from typing import Any

from ray import serve
from ray.serve import Application, Deployment
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig

from app.config.model_entry import ModelEntry
from app.config.scaling import Scale
from app.config.service import Config, parse_config
from app.serving.deployment_version import with_version
from app.serving.ingress import INGRESS_NAME, IngressReplica
from contract.log_settings import DEFAULT, LogSettings
from contract.options.catalog import CATALOG
from contract.tracing import TraceExport
from deployments.replica import AdapterReplica, Replica

# By name: Serve imports them where they run, beside each handle.
SESSION_ROUTER = "ray.serve.experimental.consistent_hash_router:ConsistentHashRouter"
ADAPTER_ROUTER = "app.upstream.adapter_router:AdapterRouter"
PREFIX_ROUTER = "app.upstream.prefix_router:PrefixRouter"
# Of glibc: a body of megabytes gets pages of its own, which go back when it is done with. Else the heap grows by each
# that comes while another is there, and keeps what it has.
INGRESS_ENV = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
TRACED_ENGINES = ("vllm",)  # that export spans of their own, and so start anew where that changes
HEALTH_CHECK_PERIOD_S = 5
RESIDENT_ADAPTERS_PERIOD_S = 2.0  # between two reports of which adapters a replica has loaded
HEALTH_CHECK_TIMEOUT_S = 10
DRAIN_LOOK_S = 0.5  # how often a replica that is to stop looks whether its requests have ended; Serve has 2 s


def build(args: dict[str, Any]) -> Application:
    """The application of the configuration `args`. Raises ConfigError."""
    config = parse_config(args)
    return _application(config, config.models)


def build_first(args: dict[str, Any]) -> Application:
    """The same with the models of `start_first` alone; to the gateway the others are starting. Raises ConfigError."""
    config = parse_config(args)
    return _application(config, [entry for entry in config.models if entry.id in config.start_first])


def _application(config: Config, models: list[ModelEntry]) -> Application:
    return ingress_deployment(config).bind({entry.id: _bound(entry, config) for entry in models})


def _bound(entry: ModelEntry, config: Config) -> Application:
    log = entry.log_settings(config.logging)
    tracing = config.tracing.export() if entry.engine in TRACED_ENGINES else None
    deployment = model_deployment(entry, log, has_room=config.has_room_for_one_more(entry), tracing=tracing)
    return deployment.bind(CATALOG[entry.engine], entry.served()._replace(tracing=tracing), log)


def model_deployment(
    entry: ModelEntry, log: LogSettings = DEFAULT, *, has_room: bool = False, tracing: TraceExport | None = None
) -> Deployment:
    """One deployment per model, named after it, with a version of its own: a change of one entry restarts that one.

    `has_room` says whether the cluster can run one replica more while an update goes on; `tracing` is where the spans
    of an engine go that makes some.
    """
    scale = entry.scale
    options: dict[str, Any] = {
        "name": entry.id,
        "ray_actor_options": entry.resources.actor_options() | {"runtime_env": {"env_vars": entry.environment()}},
        "max_ongoing_requests": scale.max_ongoing_requests,
        "max_queued_requests": -1,  # the gateway's own queues bound what a handle gets
        "health_check_period_s": HEALTH_CHECK_PERIOD_S,
        "health_check_timeout_s": HEALTH_CHECK_TIMEOUT_S,
        "graceful_shutdown_timeout_s": scale.drain_timeout_s,
        "graceful_shutdown_wait_loop_s": DRAIN_LOOK_S,
        "max_surge_percent": scale.surge_percent(has_room=has_room),
        "user_config": {"log": log._asdict()},  # which replicas follow while they run
    }
    if scale.is_fixed:
        options["num_replicas"] = scale.min_replicas
    else:
        options["autoscaling_config"] = _autoscaling(scale)
    if (router := _router(entry)) is not None:
        options["request_router_config"] = router
    replica = AdapterReplica if entry.takes_adapters else Replica
    return with_version(serve.deployment(replica, **options), entry.identity, *(tracing or ()))


def _autoscaling(scale: Scale) -> AutoscalingConfig:
    with warnings.catch_warnings():  # metrics_interval_s is to become an environment variable, the same for all models
        warnings.simplefilter("ignore", DeprecationWarning)
        return AutoscalingConfig(
            min_replicas=scale.min_replicas,
            max_replicas=scale.max_replicas,
            initial_replicas=scale.initial_replicas,
            target_ongoing_requests=scale.target_ongoing_requests,
            upscale_delay_s=scale.upscale_delay_s,
            downscale_delay_s=scale.downscale_delay_s,
            downscale_to_zero_delay_s=scale.downscale_to_zero_delay_s,
            look_back_period_s=scale.look_back_s,
            metrics_interval_s=scale.metrics_interval_s,
            # No function: what decides is the application's policy, which reads these.
            policy=AutoscalingPolicy(policy_kwargs={"kv_cache_target": scale.kv_cache_target}),
        )


def _router(entry: ModelEntry) -> RequestRouterConfig | None:
    """None: Serve's own, power of two choices."""
    routing = entry.routing
    if routing.policy == "session":
        return RequestRouterConfig(request_router_class=SESSION_ROUTER)
    if routing.policy == "prefix":
        given = routing.model_dump(include={"max_imbalance", "remembered_blocks"}, exclude_none=True)
        return RequestRouterConfig(request_router_class=PREFIX_ROUTER, request_router_kwargs=given)
    if entry.takes_adapters:
        return RequestRouterConfig(
            request_router_class=ADAPTER_ROUTER, request_routing_stats_period_s=RESIDENT_ADAPTERS_PERIOD_S
        )
    return None


def ingress_deployment(config: Config) -> Deployment:
    """The gateway. It takes a changed configuration while it runs: its streams and its address stay."""
    ingress = config.ingress
    deployment = serve.deployment(
        serve.ingress()(IngressReplica),
        name=INGRESS_NAME,
        num_replicas=ingress.replicas,
        max_ongoing_requests=ingress.max_ongoing_requests,
        max_queued_requests=ingress.max_queued_requests,
        ray_actor_options={
            "num_cpus": ingress.num_cpus,
            "label_selector": ingress.label_selector,
            "runtime_env": {"env_vars": INGRESS_ENV},
        },
        graceful_shutdown_timeout_s=ingress.drain_timeout_s,
        graceful_shutdown_wait_loop_s=DRAIN_LOOK_S,
        user_config=config.model_dump(mode="json"),
    )
    return with_version(deployment, INGRESS_NAME)
