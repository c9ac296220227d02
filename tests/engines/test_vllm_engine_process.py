"""On CPUs vLLM's engine is forked from a server that has imported vLLM, unless that could change how it runs."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from contract.project import PROJECT_FOLDER
from contract.protocol import CHAT_ROUTE
from deployments.vllm import engine_process
from tests.engines.replicas import items_of, started

CHAT = str(PROJECT_FOLDER / "local_models" / "pocket-chat")
ENGINE_KWARGS = {"dtype": "float32", "enforce_eager": True, "max_model_len": 512, "kv_cache_memory_bytes": 2**25}
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "PORTICO_TEST": "of the replica",
}


def engines() -> set[psutil.Process]:
    """All that this process has started, those of services of other tests among them."""
    mine = psutil.Process().children(recursive=True)
    return {one for one in mine if command_of(one).startswith("VLLM::EngineCore")}


def command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # it has ended, of a test before
        return ""


def names_of_threads(process: psutil.Process) -> list[str]:
    return [file.read_text().strip() for file in Path(f"/proc/{process.pid}/task").glob("*/comm")]


async def test_a_forked_engine_answers_and_has_what_a_spawned_one_would_have(monkeypatch: Any) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    before = engines()
    replica = await started("vllm", "chat", CHAT, ENGINE_KWARGS)
    try:
        (engine,) = engines() - before
        server = engine.parent()
        assert server is not None
        assert "multiprocessing.forkserver" in " ".join(server.cmdline())
        assert "libgomp" in server.environ()[engine_process.PRELOADED]
        body = {"model": "pocket-chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
        (head,) = await items_of(replica, CHAT_ROUTE, body)
        assert head.status == 200
        assert names_of_threads(engine).count("gloo_tcp_loop") == 1, "each looks 100 times a second"
    finally:
        replica.close()


@pytest.mark.parametrize("engine_kwargs", [{}, {"enforce_eager": False}], ids=["not said", "it compiles"])
def test_an_engine_that_compiles_is_spawned(engine_kwargs: dict[str, Any]) -> None:
    assert engine_process.start_server(engine_kwargs) is None


def test_an_engine_on_a_gpu_is_spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_process, "CPU_PACKAGE", "no-such-package")
    assert engine_process.start_server({"enforce_eager": True}) is None


def test_an_engine_that_is_to_preload_something_else_is_spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    context = engine_process.forking(lambda: "vLLM's", "libgomp.so")
    monkeypatch.setenv("LD_PRELOAD", "libtcmalloc.so:libgomp.so")
    assert context() == "vLLM's"
    monkeypatch.setenv("LD_PRELOAD", "libgomp.so")
    assert context().get_start_method() == "forkserver"


def test_the_server_preloads_as_vllm_s_engines_do_and_the_replica_stays_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    preloaded = engine_process.start_server({"enforce_eager": True})
    assert preloaded is not None
    assert "libgomp" in preloaded
    assert "LD_PRELOAD" not in os.environ


def test_vllm_is_imported_without_scipy_and_resamples_with_it() -> None:
    """In a process of its own: here others may have imported it."""
    looks = (
        "import sys, numpy, deployments.vllm.engine_imports",
        "assert 'scipy' not in sys.modules",
        "from vllm.multimodal.audio import resample_audio_scipy",
        "assert len(resample_audio_scipy(numpy.zeros(480), orig_sr=48000, target_sr=16000)) == 160",
    )
    subprocess.run(
        [sys.executable, "-c", "\n".join(looks)], cwd=PROJECT_FOLDER, check=True, env=os.environ | ENVIRONMENT
    )
