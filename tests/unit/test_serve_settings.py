"""The start-up check of the Serve variables: what fits passes, and what does not is named with its remedy."""

from dataclasses import replace
from typing import Any

import pytest

from app.config.service import read_serve_config
from app.serving import serve_settings
from app.serving.ingress import IngressReplica
from app.serving.serve_settings import ServeSettings, differences, faults_of
from contract.fields import ConfigError
from contract.project import PROJECT_FOLDER

PROD = read_serve_config(PROJECT_FOLDER / "serve_configs" / "prod.yaml")[1]
LOCAL = read_serve_config(PROJECT_FOLDER / "serve_configs" / "tiny.yaml")[1]
WRAPPER = str(PROJECT_FOLDER / "cluster" / "haproxy")
GOOD = ServeSettings(
    ha_proxy=True,
    throughput_optimized=True,
    grpc_between_replicas=True,
    grpc_message_bytes=134217728,
    haproxy_binary=WRAPPER,
    hard_stop_s=900,
    server_timeout_s=900,
    client_timeout_s=180,
    retry_on="conn-failure",
    http_callback="app.edge:middlewares",
)
NONE_SET = ServeSettings(False, False, False, 4194304, "", 120, None, 3600, "conn-failure", None)


def test_a_process_without_any_variable_may_serve_the_local_configuration() -> None:
    assert serve_settings.read() == NONE_SET
    assert faults_of(NONE_SET, LOCAL) == []


def test_production_as_it_should_be() -> None:
    assert faults_of(GOOD, PROD) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"throughput_optimized": False}, "RAY_SERVE_THROUGHPUT_OPTIMIZED is 0 and must be 1, as RAY_SERVE_ENABLE_HA"),
        (
            {"grpc_message_bytes": 4194304},
            "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH is 4194304 and must be 68157440 or",
        ),
        (
            {"haproxy_binary": ""},
            "RAY_SERVE_HAPROXY_BINARY_PATH is not set and must be the absolute path of cluster/hap",
        ),
        ({"haproxy_binary": "/usr/bin/env"}, "RAY_SERVE_HAPROXY_BINARY_PATH is /usr/bin/env and must be the absolute"),
        ({"haproxy_binary": "/absent"}, "RAY_SERVE_HAPROXY_BINARY_PATH is /absent and must be the absolute"),
        ({"hard_stop_s": 120}, "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S is 120 and must be 300 or more, for HAProxy ends"),
        (
            {"server_timeout_s": 60},
            "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S is 60 and must be 300 or more, for limits.first_",
        ),
        (
            {"client_timeout_s": 60},
            "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S is 60 and must be 120 or more, for limits.write_stall_timeout_s or",
        ),
        (
            {"retry_on": "conn-failure empty-response"},
            "RAY_SERVE_HAPROXY_RETRY_ON is conn-failure empty-response and must be conn-failure, or a request that has",
        ),
        (
            {"http_callback": None},
            "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH is not set and must be app.edge:middlewares",
        ),
    ],
)
def test_a_mix_is_named(change: dict[str, Any], fault: str) -> None:
    (reported,) = faults_of(replace(GOOD, **change), PROD)
    assert reported.startswith(fault)


def test_the_largest_body_or_answer_is_one_message() -> None:
    no_images = PROD.model_copy(update={"models": [one for one in PROD.models if one.task != "images"]})
    (of_a_body,) = faults_of(replace(GOOD, grpc_message_bytes=1), no_images)
    assert "must be 34603008 or more, for a body of limits.max_body_bytes (33554432 bytes) is one mess" in of_a_body
    painter = next(one for one in PROD.models if one.task == "images")
    many = painter.model_copy(update={"engine_kwargs": painter.engine_kwargs | {"max_images": 10}})
    (of_an_answer,) = faults_of(GOOD, PROD.model_copy(update={"models": [many]}))
    assert "for an answer of flux-schnell, its max_images of max_pixels, (167772160 bytes) is" in of_an_answer


def test_throughput_without_haproxy_is_a_mix() -> None:
    (reported,) = faults_of(replace(GOOD, ha_proxy=False), PROD)
    assert reported.startswith("RAY_SERVE_THROUGHPUT_OPTIMIZED is 1 and must be 0")


def test_a_model_may_not_have_serve_variables_of_its_own() -> None:
    model = PROD.models[0].model_copy(update={"env": {"RAY_SERVE_USE_GRPC_BY_DEFAULT": "0", "HF_HUB_OFFLINE": "1"}})
    (reported,) = faults_of(GOOD, PROD.model_copy(update={"models": [model]}))
    assert reported.startswith(f"models.{model.id}.env sets RAY_SERVE_USE_GRPC_BY_DEFAULT")


def test_nodes_must_agree_except_on_paths() -> None:
    others = {
        "10.0.0.1": replace(GOOD, haproxy_binary="/elsewhere/haproxy"),
        "10.0.0.2": replace(GOOD, throughput_optimized=False),
    }
    assert differences(GOOD, others) == ["RAY_SERVE_THROUGHPUT_OPTIMIZED is 0 on the node 10.0.0.2, and 1 here."]


def test_the_refusal_names_every_fault_and_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_settings, "read", lambda: replace(GOOD, hard_stop_s=1, server_timeout_s=1))
    with pytest.raises(ConfigError, match=r"(?s)HARD_STOP.*TIMEOUT_SERVER.*cluster/with-profile ray start"):
        serve_settings.require_fit(PROD)


async def test_a_gateway_replica_does_not_start_with_a_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_settings, "read", lambda: replace(GOOD, haproxy_binary=""))
    with pytest.raises(ConfigError, match="RAY_SERVE_HAPROXY_BINARY_PATH"):
        await IngressReplica({}).reconfigure(LOCAL.model_dump(mode="json"))
