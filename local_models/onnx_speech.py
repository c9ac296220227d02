"""`pocket-piper` and `pocket-kokoro`: voices of random weights, with the inputs and the files of the real ones.

A phoneme is a number of samples that follow from it and from who speaks, so that the length of the audio tells how many
phonemes were read. `pocket-piper` has three speakers in two files.
"""

import json
from pathlib import Path
from typing import Any

from local_models.chat import SEED

IPA = (
    "abcdefhijklmnopqrstuvwxyz\u00e6\u00e7\u00f0\u00f8\u014b\u0153\u0250\u0251\u0252\u0254\u0259\u025a\u025b\u025c"
    "\u0261\u026a\u0279\u027e\u0281\u0283\u028a\u028c\u0292\u0294\u02c8\u02cc\u02d0\u03b8\u1d7b\u0303"
)
PIPER_SYMBOLS = "_^$ !',-.:;?" + IPA
KOKORO_SYMBOLS = "$;:,.!?\u2014\u2026 AIOQSTWY\u1d4a\u02a4\u02a7\u02a3\u02a6" + IPA
PIPER_RATE = 16_000
PIPER_SAMPLES, KOKORO_SAMPLES = 256, 600  # for a phoneme
STYLE = 256  # numbers of a style vector
ROWS = 510
LOUDNESS = 0.1


def make_piper_voices(folder: Path) -> None:
    """Write a voice of one speaker and one of two into `folder`, as they lie in rhasspy/piper-voices."""
    _write_piper_voice(folder / "en" / "en_US" / "solo" / "low", "en_US-solo-low", {})
    _write_piper_voice(folder / "de" / "de_DE" / "duo" / "low", "de_DE-duo-low", {"anna": 0, "bert": 1})


def make_kokoro_model(folder: Path) -> None:
    """Write a Kokoro of four voices into `folder`, as onnx-community has it."""
    import numpy as np

    chance = np.random.default_rng(SEED)
    _save(folder / "onnx" / "model.onnx", [1, "samples"], *_kokoro_graph(chance))
    vocabulary = {symbol: number for number, symbol in enumerate(KOKORO_SYMBOLS)}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
    (folder / "voices").mkdir()
    for name in ("af_ada", "bm_brian", "ff_claire", "jf_dai"):
        styles = chance.normal(size=(ROWS, 1, STYLE)).astype(np.float32)
        styles.tofile(folder / "voices" / f"{name}.bin")


def _write_piper_voice(folder: Path, name: str, speakers: dict[str, int]) -> None:
    import numpy as np

    _save(
        folder / f"{name}.onnx", [1, 1, 1, "samples"], *_piper_graph(np.random.default_rng(SEED), max(1, len(speakers)))
    )
    config = {
        "audio": {"sample_rate": PIPER_RATE, "quality": "low"},
        "espeak": {"voice": name[:2]},
        "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
        "phoneme_type": "espeak",
        "phoneme_id_map": {symbol: [number] for number, symbol in enumerate(PIPER_SYMBOLS)},
        "num_speakers": max(1, len(speakers)),
        "speaker_id_map": speakers,
    }
    (folder / f"{name}.onnx.json").write_text(json.dumps(config))
    (folder / "MODEL_CARD").write_text(f"# Model card for {name}\n\n## Dataset\n\n* License: CC0\n")


def _piper_graph(chance: Any, speakers: int) -> tuple[Any, list[Any], list[Any]]:
    """Nodes, inputs and constants: the samples of each phoneme and of who speaks, and noise as loud as asked."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Gather", ["phonemes", "input"], ["said"]),
        helper.make_node("RandomNormalLike", ["said"], ["noise"], scale=LOUDNESS / 10),
        helper.make_node("Slice", ["scales", "first", "second"], ["noise_scale"]),
        helper.make_node("Mul", ["noise", "noise_scale"], ["variation"]),
        helper.make_node("Add", ["said", "variation"], ["varied"]),
    ]
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, ["batch", "phonemes"]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, ["batch"]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
    ]
    constants = [
        _numbers("phonemes", chance.normal(scale=LOUDNESS, size=(len(PIPER_SYMBOLS), PIPER_SAMPLES))),
        _numbers("first", [0]),
        _numbers("second", [1]),
        _numbers("shape", [1, 1, 1, -1]),
    ]
    if speakers > 1:
        inputs.append(helper.make_tensor_value_info("sid", TensorProto.INT64, ["batch"]))
        constants.append(_numbers("speakers", chance.normal(scale=LOUDNESS, size=(speakers, PIPER_SAMPLES))))
        nodes += [
            helper.make_node("Gather", ["speakers", "sid"], ["speaker"]),
            helper.make_node("Add", ["varied", "speaker"], ["spoken"]),
        ]
    nodes.append(helper.make_node("Reshape", ["spoken" if speakers > 1 else "varied", "shape"], ["output"]))
    return nodes, inputs, constants


def _kokoro_graph(chance: Any) -> tuple[Any, list[Any], list[Any]]:
    """Nodes, inputs and constants: the samples of each phoneme and of the voice's style, faster where asked."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Gather", ["phonemes", "input_ids"], ["said"]),
        helper.make_node("MatMul", ["style", "styles"], ["voice"]),
        helper.make_node("Add", ["said", "voice"], ["spoken"]),
        helper.make_node("Div", ["spoken", "speed"], ["paced"]),
        helper.make_node("Reshape", ["paced", "shape"], ["output"]),
    ]
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "phonemes"]),
        helper.make_tensor_value_info("style", TensorProto.FLOAT, [1, STYLE]),
        helper.make_tensor_value_info("speed", TensorProto.FLOAT, [1]),
    ]
    constants = [
        _numbers("phonemes", chance.normal(scale=LOUDNESS, size=(len(KOKORO_SYMBOLS), KOKORO_SAMPLES))),
        _numbers("styles", chance.normal(scale=LOUDNESS / STYLE, size=(STYLE, KOKORO_SAMPLES))),
        _numbers("shape", [1, -1]),
    ]
    return nodes, inputs, constants


def _numbers(name: str, numbers: Any) -> Any:
    import numpy as np
    from onnx import numpy_helper

    array = np.asarray(numbers)
    return numpy_helper.from_array(array.astype(np.float32 if array.dtype.kind == "f" else np.int64), name)


def _save(file: Path, shape: list[Any], nodes: Any, inputs: list[Any], constants: list[Any]) -> None:
    """`shape` is the output's."""
    import onnx
    from onnx import TensorProto, helper

    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, file.stem, inputs, [output], constants)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, file)
