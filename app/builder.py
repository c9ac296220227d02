"""Builds the Serve application of a configuration: `import_path: app.builder:build`."""

from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig

from app.config import Config, parse_config
from app.ingress import IngressReplica
from app.model_entry import ModelEntry
from deployments.embeddings import EmbeddingsReplica
from deployments.images import ImagesReplica
from deployments.speech import BarkReplica, EspeakReplica, QwenTtsReplica, VitsReplica, XttsReplica
from deployments.transcriptions import TranscriptionsReplica
from deployments.vllm import VllmChatReplica
from deployments.vllm_embeddings import VllmEmbeddingsReplica

# What a model entry's (engine, task) is run by.
REPLICAS: dict[tuple[str, str], Any] = {
    ("vllm", "chat"): VllmChatReplica,
    ("vllm", "embeddings"): VllmEmbeddingsReplica,
    ("sentence-transformers", "embeddings"): EmbeddingsReplica,
    ("diffusers", "images"): ImagesReplica,
    ("faster-whisper", "transcriptions"): TranscriptionsReplica,
    ("espeak-ng", "speech"): EspeakReplica,
    ("vits", "speech"): VitsReplica,
    ("bark", "speech"): BarkReplica,
    ("xtts", "speech"): XttsReplica,
    ("qwen3-tts", "speech"): QwenTtsReplica,
}
INGRESS_NAME = "gateway"
HEALTH_CHECK_PERIOD_S = 5
HEALTH_CHECK_TIMEOUT_S = 10

# Set for every replica; a model entry's `env` may override it. No engine reports its use to anybody.
REPLICA_ENV = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def build(args: dict[str, Any]) -> Application:
    """The application of the configuration `args`. Raises ConfigError."""
    config = parse_config(args)
    models = {entry.id: _model_deployment(entry) for entry in config.models}
    return _ingress_deployment(config).bind(config.model_dump(mode="json"), models)


def _model_deployment(entry: ModelEntry) -> Application:
    """One deployment per model, named after it, so that a change of one entry restarts that model only."""
    scaling, resources = entry.scaling, entry.resources
    actor_options: dict[str, Any] = {
        "num_cpus": resources.num_cpus,
        "num_gpus": resources.num_gpus,
        "runtime_env": {"env_vars": REPLICA_ENV | entry.environment()},
    }
    if resources.accelerator_type is not None:
        actor_options["accelerator_type"] = resources.accelerator_type
    options: dict[str, Any] = {
        "name": entry.id,
        "ray_actor_options": actor_options,
        "max_ongoing_requests": scaling.max_ongoing_requests,
        "max_queued_requests": scaling.max_queued_requests,
        "health_check_period_s": HEALTH_CHECK_PERIOD_S,
        "health_check_timeout_s": HEALTH_CHECK_TIMEOUT_S,
    }
    if scaling.min_replicas == scaling.max_replicas:
        options["num_replicas"] = scaling.min_replicas
    else:
        options["autoscaling_config"] = AutoscalingConfig(
            min_replicas=scaling.min_replicas,
            max_replicas=scaling.max_replicas,
            target_ongoing_requests=scaling.target_ongoing_requests,
            upscale_delay_s=scaling.upscale_delay_s,
            downscale_delay_s=scaling.downscale_delay_s,
        )
    return serve.deployment(REPLICAS[entry.engine, entry.task], **options).bind(
        entry.id, entry.location(), entry.engine_kwargs
    )


def _ingress_deployment(config: Config) -> Any:
    ingress = config.ingress
    return serve.deployment(
        serve.ingress()(IngressReplica),
        name=INGRESS_NAME,
        num_replicas=ingress.replicas,
        max_ongoing_requests=ingress.max_ongoing_requests,
        max_queued_requests=ingress.max_queued_requests,
        ray_actor_options={"num_cpus": ingress.num_cpus},
    )
