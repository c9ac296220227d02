"""The one file that knows ONNX Runtime: a model file, the device that runs it, and its threads."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from contract.options.speech import OnnxSpeechOptions
from deployments.speech.synthesizer import PackagesError

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
CPU_BUILD = (
    "device: {}: the installed ONNX Runtime runs on CPUs only. Install locks/onnxruntime-gpu.txt in a folder and name "
    "it under `packages` of the model's entry, see docs/speech.md; or write `device: cpu`"
)
NO_GPU = (
    "device: {}: ONNX Runtime cannot use that GPU; its lines before this one say why. It needs a GPU and the libraries "
    "of CUDA 13, as locks/gpu.txt has them; or write `device: cpu`"
)
ERRORS_ONLY = 3
# No search for the fastest convolution at each new length of a sentence, and no more memory than is asked for: a GPU is
# shared.
CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
NUMBERS: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


class OnnxGraph:
    """A model of one file on one device."""

    def __init__(self, file: Path, options: OnnxSpeechOptions) -> None:
        """Load it. Raises PackagesError where `device` names a GPU that ONNX Runtime cannot use."""
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = options.threads or _threads()
        settings.inter_op_num_threads = 1
        settings.log_severity_level = ERRORS_ONLY
        # Threads that wait without sleeping take the cores from whoever else works on them.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(file, settings, providers=_providers(options.device))
        self.device = "cuda" if self._session.get_providers()[0] == CUDA else "cpu"
        if options.device not in (None, "cpu") and self.device == "cpu":
            raise PackagesError(NO_GPU.format(options.device))
        self._inputs = {node.name: NUMBERS[node.type] for node in self._session.get_inputs()}

    @property
    def inputs(self) -> set[str]:
        """Their names."""
        return set(self._inputs)

    def run(self, **inputs: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The first output in one row, of arrays or lists by the names of the inputs. Blocks."""
        feed = {name: np.asarray(value, self._inputs[name]) for name, value in inputs.items()}
        output: np.ndarray[Any, np.dtype[np.float32]] = self._session.run(None, feed)[0]
        return output.reshape(-1).astype(np.float32)


def _providers(device: str | None) -> list[Any]:
    """What may run the model, the preferred first. Raises PackagesError."""
    import onnxruntime

    if device == "cpu":
        return [CPU]
    if CUDA not in onnxruntime.get_available_providers():
        if device is None:
            return [CPU]
        raise PackagesError(CPU_BUILD.format(device))
    import torch  # noqa: F401 - brings the libraries of CUDA, which ONNX Runtime has not

    number = (device or "").partition(":")[2]
    return [(CUDA, CUDA_OPTIONS | {"device_id": number or "0"}), CPU]


def _threads() -> int:
    """As many as the environment says, else as the process has cores."""
    named = os.environ.get("OMP_NUM_THREADS", "")
    return int(named) if named.isdecimal() and int(named) else len(os.sched_getaffinity(0))
