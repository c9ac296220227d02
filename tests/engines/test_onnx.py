"""ONNX Runtime under the engines of speech: devices and threads."""

from pathlib import Path

import pytest

from contract.options.speech import OnnxSpeechOptions
from contract.project import in_project
from deployments.speech.onnx import CUDA, OnnxGraph
from deployments.speech.synthesizer import PackagesError

FILE = Path(in_project("./local_models/pocket-kokoro/onnx/model.onnx"))


def graph(**options: object) -> OnnxGraph:
    return OnnxGraph(FILE, OnnxSpeechOptions.model_validate(options))


def threads(of: OnnxGraph) -> int:
    return int(of._session.get_session_options().intra_op_num_threads)


def test_numbers_go_in_as_the_model_wants_them_and_come_out_in_one_row() -> None:
    tokens = [5, 6, 7]
    slow, fast = (graph().run(input_ids=[tokens], style=[[0] * 256], speed=[speed]) for speed in (1, 2))
    assert slow.shape == (len(tokens) * 600,)
    assert slow == pytest.approx(2 * fast)


def test_its_inputs_are_known_by_name() -> None:
    assert graph().inputs == {"input_ids", "style", "speed"}


class TestDevice:
    def test_left_out_it_is_the_cpu_where_the_runtime_has_no_gpu(self) -> None:
        assert graph().device == graph(device="cpu").device == "cpu"

    @pytest.mark.parametrize("device", ["cuda", "cuda:1"])
    def test_a_gpu_that_the_runtime_cannot_use_is_refused(self, device: str) -> None:
        message = f"device: {device}: the installed ONNX Runtime runs on CPUs only. Install locks/onnxruntime-gpu.txt"
        with pytest.raises(PackagesError, match=message):
            graph(device=device)

    def test_a_gpu_that_is_not_there_is_refused_where_the_runtime_could_use_one(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """ONNX Runtime itself goes on with the CPU, and says so only in its log."""
        import onnxruntime

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
        with pytest.warns(UserWarning, match="CUDA"), pytest.raises(PackagesError, match="cannot use that GPU"):
            graph(device="cuda")


class TestThreads:
    def test_they_are_what_the_options_say(self) -> None:
        assert threads(graph(threads=3)) == 3

    def test_left_out_they_are_the_environments(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", "5")
        assert threads(graph()) == 5

    @pytest.mark.parametrize("said", ["", "0", "4,2", "many"])
    def test_without_a_number_there_they_are_all_cores_of_the_process(
        self, monkeypatch: pytest.MonkeyPatch, said: str
    ) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
        monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2})
        assert threads(graph()) == 3
