"""The start of `make serve`: the chat model is there first, and the others come without a change to what is up."""

import os
import re

import psutil

from tests.conftest import Service
from tests.local.conftest import CHAT_MODEL, EMBEDDING_MODEL, IMAGE_MODEL, SPEECH_MODEL, TRANSCRIPTION_MODEL

OTHERS = {EMBEDDING_MODEL, TRANSCRIPTION_MODEL, SPEECH_MODEL, IMAGE_MODEL}
REPLICA = "ray::ServeReplica:portico:"


def replicas(service: Service) -> dict[str, psutil.Process]:
    """The one process of each deployment, by its name."""
    found = [(" ".join(one.cmdline()), one) for one in service.processes()]
    named = [
        (line.removeprefix(REPLICA).partition(".")[0].strip(), one) for line, one in found if line.startswith(REPLICA)
    ]
    assert len(named) == len(dict(named))
    return dict(named)


def test_the_gateway_and_the_chat_model_are_started_before_the_others_and_once(local_service: Service) -> None:
    started = {name: process.create_time() for name, process in replicas(local_service).items()}
    assert set(started) == {"gateway", CHAT_MODEL} | OTHERS
    assert max(started["gateway"], started[CHAT_MODEL]) < min(started[name] for name in OTHERS)


def test_each_model_may_use_every_core(local_service: Service) -> None:
    cores = str(len(os.sched_getaffinity(0)))
    assert {one.environ()["OMP_NUM_THREADS"] for one in replicas(local_service).values()} == {cores}


def test_what_it_prints_says_which_models_are_still_starting_and_when_all_are_ready(local_service: Service) -> None:
    local_service.wait_printed("Every model is ready.")
    before, banner, later = re.split(r"Portico is ready\.|Ctrl-C stops it\.", local_service.output)
    assert f"{CHAT_MODEL}: ready" in before
    models = next(line for line in banner.splitlines() if line.startswith("  Models"))
    assert f"{CHAT_MODEL}," in models
    assert all(f"{name} (starting)" in models for name in OTHERS)
    assert all(f"{name}: ready" in later.partition("Every model is ready.")[0] for name in OTHERS)
