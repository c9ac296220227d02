"""`speculation:` of a model entry: what is legal, what vLLM gets, what `auto` picks, and how acceptance is told."""

import re
from itertools import pairwise
from typing import Any

import httpx
import pytest
import yaml

from app.builder import build
from app.config.service import parse_config, read_serve_config
from app.telemetry.acceptance import Acceptance, KnownAcceptance, acceptance_by_model
from app.telemetry.metrics_page import merge
from app.upstream.registry import Registry
from contract.fields import ConfigError
from contract.profile import Profile
from contract.project import PROJECT_FOLDER
from contract.speculation import METHODS, Method, from_wire, to_wire
from deployments.vllm.speculation_choice import LARGEST_BATCH, TABLE, Facts, choose, falling
from tests.unit.conftest import PROFILE, config_args
from tests.unit.test_config import entry

LEGAL: list[tuple[Any, dict[str, Any]]] = [
    (
        {"method": "ngram"},
        {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_min": 2, "prompt_lookup_max": 5},
    ),
    ({"method": "suffix"}, {"method": "suffix"}),
    (
        {"method": "suffix", "num_speculative_tokens": 8, "suffix_decoding_min_token_prob": 0.2},
        {"method": "suffix", "num_speculative_tokens": 8, "suffix_decoding_min_token_prob": 0.2},
    ),
    (
        {"method": "draft_model", "model": "./drafts/small", "draft_sample_method": "probabilistic"},
        {"method": "draft_model", "num_speculative_tokens": 4, "model": str(PROJECT_FOLDER / "drafts/small"),
         "draft_sample_method": "probabilistic"},
    ),
    (
        {"method": "eagle3", "model": "org/head", "num_speculative_tokens": 2,
         "num_speculative_tokens_per_batch_size": [[1, 8, 2], [9, 9, 0]]},
        {"method": "eagle3", "model": "org/head", "num_speculative_tokens": 2,
         "num_speculative_tokens_per_batch_size": [[1, 8, 2], [9, 9, 0]]},
    ),
    ({"method": "mtp"}, {"method": "mtp", "num_speculative_tokens": 1}),
    (
        {"method": "mtp", "model": "org/assistant"},
        {"method": "mtp", "model": "org/assistant", "num_speculative_tokens": 1},
    ),
    (
        {"method": "dflash", "model": "/drafts/d", "attention_backend": "flash_attn"},
        {"method": "dflash", "model": "/drafts/d", "num_speculative_tokens": 15, "attention_backend": "flash_attn"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), LEGAL, ids=lambda value: str(value.get("method")))
def test_a_block_becomes_vllm_s_speculative_config(given: Any, expected: Any) -> None:
    (model,) = parse_config(config_args(models=[entry(speculation=given)], keys=KEYS)).models
    assert isinstance(model.speculation, Method)
    assert model.speculation.speculative_config() == expected
    assert from_wire(to_wire(model.speculation)) == model.speculation


@pytest.mark.parametrize("given", [None, False, "off"], ids=["left out", "a bare off of YAML", "off"])
def test_off_is_the_default_and_what_yaml_makes_of_off(given: Any) -> None:
    (model,) = parse_config(config_args(models=[entry(speculation=given)], keys=KEYS)).models
    assert model.speculation == "off"
    assert yaml.safe_load("speculation: off") == {"speculation": False}


def test_a_configuration_survives_its_way_to_the_gateway() -> None:
    for given in ("auto", *(block for block, _ in LEGAL)):
        config = parse_config(config_args(models=[entry(speculation=given)], keys=KEYS))
        assert parse_config(config.model_dump(mode="json")) == config


TIERS = "num_speculative_tokens_per_batch_size"


@pytest.mark.parametrize(
    ("given", "reported"),
    [
        ("on", "speculation: it is `off`, `auto`, or a mapping whose `method` is one of ngram, suffix, draft_model"),
        (True, "speculation: it is `off`, `auto`, or"),
        ({"num_speculative_tokens": 3}, "a mapping whose `method` is one of"),
        ({"method": "medusa"}, "a mapping whose `method` is one of"),
        ({"method": "draft_model"}, "model: it is missing; name a smaller model of the same vocabulary"),
        ({"method": "eagle3"}, "model: it is missing; name an EAGLE-3 head that was trained for this model"),
        ({"method": "dflash", "model": ""}, "model: it is missing; name a DFlash draft"),
        ({"method": "ngram", "model": "org/x"}, "speculation.ngram.model: there is no such field"),
        ({"method": "ngram", "num_speculative_tokens": 0}, "num_speculative_tokens: Input should be greater than"),
        ({"method": "ngram", "prompt_lookup_min": 6}, "prompt_lookup_min (6) is over prompt_lookup_max (5)"),
        ({"method": "suffix", "suffix_decoding_min_token_prob": 2}, "min_token_prob: Input should be less than"),
        ({"method": "suffix", TIERS: [[1, 2, 3]]}, "suffix sets the length of each draft by itself; remove this"),
        ({"method": "mtp", TIERS: [[2, 4, 1]]}, "[2, 4, 1] must begin at 1"),
        ({"method": "mtp", TIERS: [[1, 4, 1], [6, 9, 0]]}, "[6, 9, 0] must begin at 5"),
        ({"method": "mtp", TIERS: [[1, 4, 1], [5, 4, 0]]}, "[5, 4, 0] must begin at 5 and end no earlier"),
        ({"method": "mtp", TIERS: [[1, 4, 2]]}, "2 tokens are more than num_speculative_tokens, which is 1"),
        ({"method": "mtp", TIERS: [[1, 4, -1]]}, f"{TIERS}[0][2]: Input should be greater than or equal to 0"),
        ({"method": "mtp", TIERS: []}, f"{TIERS}: List should have at least 1 item"),
    ],
)
def test_a_wrong_block_names_the_field_and_the_fix(given: Any, reported: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(config_args(models=[entry(speculation=given)]))
    assert "models[0].speculation" in str(caught.value)
    assert reported in str(caught.value)


def test_only_chat_models_of_vllm_speculate() -> None:
    embedder = entry(task="embeddings", engine="sentence-transformers", speculation="auto")
    for wrong in (embedder, entry(task="embeddings", speculation={"method": "ngram"})):
        with pytest.raises(ConfigError, match="only chat models of vllm speculate, and alpha is for embeddings"):
            parse_config(config_args(models=[wrong]))


def test_two_ways_to_say_it_are_refused_by_name() -> None:
    for name, value in (("speculative_config", {"method": "ngram"}), ("spec_model", "org/small")):
        twice = entry(speculation="auto", engine_kwargs={name: value})
        with pytest.raises(ConfigError, match=rf"engine_kwargs\.{name} is set too; keep one"):
            parse_config(config_args(models=[twice]))
    once = entry(engine_kwargs={"speculative_config": {"method": "medusa", "model": "x"}})
    assert parse_config(config_args(models=[once], keys=KEYS)).models[0].speculation == "off"


def test_the_replica_gets_what_the_entry_says() -> None:
    models = [entry(speculation={"method": "mtp"}), entry(id="plain")]
    application = build(config_args(models=models, keys=KEYS))
    found = [bound._bound_deployment.init_args[1] for bound in application._bound_deployment.init_args[0].values()]
    assert [model.id for model in found] == ["alpha", "plain"]
    assert [model.speculation for model in found] == [{"method": "mtp", "num_speculative_tokens": 1}, "off"]


QWEN = Facts("Qwen3-8B", 4096, 36)


def everywhere(_: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("facts", "method", "model"),
    [
        (QWEN, "eagle3", "RedHatAI/Qwen3-8B-speculator.eagle3"),
        (Facts("qwen3-8b-FP8", 4096, 36), "eagle3", "RedHatAI/Qwen3-8B-speculator.eagle3"),
        (Facts("Qwen3-8B-Base", 4096, 36), "ngram", None),
        (Facts("Qwen3-8B", 4096, 40), "ngram", None),
        (Facts("MyQwen3-8B", 4096, 36), "ngram", None),
        (Facts("Qwen3-8B", 4096, 36, mtp_tokens=1), "mtp", None),
        (Facts("Qwen3-4B", 2560, 36), "draft_model", "Qwen/Qwen3-0.6B"),
        (Facts("Qwen3-Coder-30B-A3B-Instruct", 2048, 48), "dflash", "z-lab/Qwen3-Coder-30B-A3B-DFlash"),
        (Facts("unheard-of", 64, 2), "ngram", None),
    ],
)
def test_auto_takes_the_own_head_then_a_listed_checkpoint_then_n_grams(facts: Any, method: str, model: Any) -> None:
    choice = choose(facts, everywhere)
    config = choice.method.speculative_config()
    assert (config["method"], config.get("model")) == (method, model)
    tiers = config["num_speculative_tokens_per_batch_size"]
    assert tiers == [list(tier) for tier in falling(config["num_speculative_tokens"])]
    assert choice.reason


def test_auto_does_without_a_checkpoint_that_is_not_to_be_had() -> None:
    choice = choose(QWEN, lambda _: False)
    assert choice.method.method == "ngram"
    assert "RedHatAI/Qwen3-8B-speculator.eagle3" in choice.reason


def test_auto_drafts_no_more_tokens_than_make_sense_by_own_heads() -> None:
    for heads, tokens in ((1, 1), (2, 2), (7, 3)):
        method = choose(Facts("x", 1, 1, mtp_tokens=heads), everywhere).method
        assert method.speculative_config()["num_speculative_tokens"] == tokens


@pytest.mark.parametrize("tokens", range(1, 16))
def test_the_draft_length_falls_with_the_batch_down_to_none(tokens: int) -> None:
    tiers = falling(tokens)
    assert tiers[0][0] == 1
    assert tiers[0][2] == tokens
    assert tiers[-1][1:] == (LARGEST_BATCH, 0)
    lengths = [length for _, _, length in tiers]
    assert lengths == sorted(set(lengths), reverse=True)
    assert all(before[1] + 1 == after[0] for before, after in pairwise(tiers))


def test_the_table_names_each_model_once_and_is_the_one_of_the_page() -> None:
    assert len({one.target for one in TABLE}) == len(TABLE)
    page = (PROJECT_FOLDER / "docs" / "speculation.md").read_text()
    for one in TABLE:
        row = f"| {one.target} | `{one.method.model_fields['method'].default}` | {one.model} |"
        assert row in page
    assert all(f"`{name}`" in page for name in METHODS)


# As Ray's agent of a node exports what vLLM counts, of two replicas of one model and one of another.
EXPORTED = """# HELP ray_vllm_spec_decode_num_drafts_total Number of spec decoding drafts.
# TYPE ray_vllm_spec_decode_num_drafts_total counter
ray_vllm_spec_decode_num_drafts_total{model_name="alpha",engine="0",ReplicaId="a1",NodeAddress="10.0.0.7"} 10.0
ray_vllm_spec_decode_num_drafts_total{model_name="beta",engine="0",ReplicaId="b1",NodeAddress="10.0.0.7"} 4.0
# HELP ray_vllm_spec_decode_num_draft_tokens_total Number of draft tokens.
# TYPE ray_vllm_spec_decode_num_draft_tokens_total counter
ray_vllm_spec_decode_num_draft_tokens_total{model_name="alpha",engine="0",ReplicaId="a1",NodeAddress="10.0.0.7"} 40.0
ray_vllm_spec_decode_num_draft_tokens_total{model_name="beta",engine="0",ReplicaId="b1",NodeAddress="10.0.0.7"} 4.0
# HELP ray_vllm_spec_decode_num_accepted_tokens_total Number of accepted tokens.
# TYPE ray_vllm_spec_decode_num_accepted_tokens_total counter
ray_vllm_spec_decode_num_accepted_tokens_total{model_name="alpha",engine="0",ReplicaId="a1",NodeAddress="x"} 20.0
# HELP ray_vllm_num_requests_running Running.
# TYPE ray_vllm_num_requests_running gauge
ray_vllm_num_requests_running{model_name="gamma",engine="0",ReplicaId="c1",NodeAddress="10.0.0.7"} 1.0
"""
OTHER_NODE = "\n".join(
    line.replace("a1", "a2") for line in EXPORTED.splitlines() if "beta" not in line and "gamma" not in line
)


def test_the_metrics_page_has_the_acceptance_of_each_model_over_all_replicas() -> None:
    page = merge([EXPORTED.encode(), f"{OTHER_NODE}\n".encode()]).public.decode()
    assert 'portico_speculation_acceptance_rate{model="alpha"} 0.5' in page
    assert 'portico_speculation_mean_accepted_length{model="alpha"} 3.0' in page
    assert 'portico_speculation_acceptance_rate{model="beta"} 0.0' in page
    assert 'portico_speculation_mean_accepted_length{model="beta"} 1.0' in page
    assert 'model="gamma"' not in page
    assert "portico_speculation" not in merge([b""]).public.decode()


def test_nothing_is_said_before_there_was_a_draft() -> None:
    assert acceptance_by_model([]) == {}
    assert Acceptance().card() == {"acceptance_rate": None, "mean_accepted_length": None}


async def test_a_report_that_fails_leaves_what_was_known() -> None:
    answers: list[dict[str, Acceptance]] = [{"alpha": Acceptance(1, 4, 2)}]

    async def report() -> dict[str, Acceptance]:
        return answers.pop()  # raises the second time

    known = KnownAcceptance(report)
    assert await known.of("alpha") == await known.of("alpha") == Acceptance(1, 4, 2)
    assert await known.of("beta") == Acceptance()


async def test_the_card_shows_how_a_model_speculates_and_how_well(
    client: httpx.AsyncClient, registry: Registry
) -> None:
    how = {"method": "ngram", "num_speculative_tokens": 4}
    registry.learn("alpha", Profile.from_wire(PROFILE.to_wire() | {"speculation": how}))
    card = (await client.get("/v1/models/alpha")).json()["portico"]
    assert card["speculation"] == how | {"acceptance_rate": 0.75, "mean_accepted_length": 4.0}
    assert "speculation" not in (await client.get("/v1/models/beta")).json()["portico"]


KEYS = [{"id": "a" * 12, "sha256": "0" * 64}]


def test_what_auto_picks_for_the_production_config_is_pinned_to_a_commit() -> None:
    _, config = read_serve_config(PROJECT_FOLDER / "serve_configs" / "prod.yaml")
    names = {model.source.rpartition("/")[2] for model in config.models if model.speculation == "auto"}
    listed = [one for one in TABLE if one.target in names]
    assert {one.target for one in listed} == names
    for one in listed:
        method = choose(Facts(one.target, one.hidden_size, one.layers), everywhere).method
        assert re.fullmatch("[0-9a-f]{40}", method.speculative_config()["revision"])
