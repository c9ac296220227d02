"""`portico serve MODEL ...`: what is found of a model that is only named, how it is sized, and what file is written.

No service starts here. GPUs, and the hub, are stand-ins.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from app.__main__ import main
from app.cli.arguments import Status
from app.commands import driver
from app.commands.planned import choice
from app.commands.planned.entries import entry, plan
from app.commands.planned.kind import Kind, kind_of
from app.commands.planned.machine import Machine
from app.commands.planned.source import Source, find
from app.config.memory_fit import demand, verdict
from app.config.model_entry import ModelEntry
from app.config.service import read_serve_config
from contract.fields import ConfigError
from contract.project import PROJECT_FOLDER
from tests.unit.model_hub import Hub, serving

GIB = 2**30
CPU = Machine(4, 16.0, (), fast_bfloat16=False)
L4 = driver.Gpu("NVIDIA L4", "580.82.07", 8.9, 22.03)
T4 = driver.Gpu("Tesla T4", "580.82.07", 7.5, 14.56)
LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "max_position_embeddings": 131072,
    "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32,
    "torch_dtype": "bfloat16",
}  # fmt: skip
TEMPLATE = "{% for tool in tools %}{% endfor %}<tool_call>"

Make = Callable[..., Path]


@pytest.fixture
def model(tmp_path: Path) -> Make:
    """Make the folder of a model: its config.json, other files, and weights of a few bytes."""

    def make(name: str, config: dict[str, Any] | None = None, **files: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        if config is not None:
            (folder / "config.json").write_text(json.dumps(config))
        save_file({"weight": np.zeros((64, 64), np.float16)}, folder / "model.safetensors")
        for path, text in files.items():
            file = folder / path.replace("__", "/").replace("_DOT_", ".")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return folder

    return make


def chat_model(make: Make, name: str = "My-Chat", template: str = TEMPLATE, **changes: Any) -> Path:
    return make(name, LLAMA | changes, chat_template_DOT_jinja=template)


def on_hub(name: str, gib: float, config: dict[str, Any] | None = None) -> tuple[Source, Kind]:
    """A chat model with so many GiB of weights in bfloat16, as the hub counts them."""

    class Hub(Source):
        def json(self, path: str) -> dict[str, Any]:
            return dict(config or LLAMA) if path == "config.json" else {}

    sizes = {"model.safetensors": int(gib * GIB), "config.json": 1}
    return Hub(f"org/{name}", name, sizes, None, "a" * 40, {"BF16": int(gib * GIB / 2)}), Kind("chat", "vllm", "hermes")


def planned(machine: Machine, *models: tuple[Source, Kind]) -> list[ModelEntry]:
    found = plan(list(models), machine)
    return [ModelEntry.model_validate(entry(one, machine, len(found))) for one in found]


class TestKind:
    @pytest.mark.parametrize(
        ("config", "files", "expected"),
        [
            (LLAMA, {"chat_template_DOT_jinja": "{{ messages }}"}, Kind("chat", "vllm")),
            (LLAMA, {"chat_template_DOT_jinja": TEMPLATE}, Kind("chat", "vllm", "hermes")),
            (
                LLAMA,
                {"tokenizer_config_DOT_json": json.dumps({"chat_template": f"{TEMPLATE}enable_thinking</think>"})},
                Kind("chat", "vllm", "hermes", "qwen3"),
            ),
            (LLAMA, {"chat_template_DOT_jinja": "{{ tools }}[TOOL_CALLS]"}, Kind("chat", "vllm", "mistral")),
            (LLAMA, {"chat_template_DOT_jinja": "</think>"}, Kind("chat", "vllm", None, "deepseek_r1")),
            (
                {"architectures": ["Qwen2VLForConditionalGeneration"], "model_type": "qwen2_vl"},
                {"chat_template_DOT_jinja": "x"},
                Kind("chat", "vllm"),
            ),
            ({"architectures": ["BertModel"]}, {"modules_DOT_json": "[]"}, Kind("embeddings", "sentence-transformers")),
            ({"architectures": ["Qwen3ForCausalLM"]}, {"modules_DOT_json": "[]"}, Kind("embeddings", "vllm")),
            (
                {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}},
                {"modules_DOT_json": "[]"},
                Kind("rerank", "sentence-transformers"),
            ),
            ({"alignment_heads": [], "lang_ids": []}, {"model_DOT_bin": "x"}, Kind("transcriptions", "faster-whisper")),
            (None, {"model_index_DOT_json": "{}"}, Kind("images", "diffusers")),
            ({"model_type": "vits"}, {}, Kind("speech", "vits")),
            ({"model_type": "bark"}, {}, Kind("speech", "bark")),
            (None, {"en__joe_DOT_onnx": "x", "en__joe_DOT_onnx_DOT_json": "{}"}, Kind("speech", "piper")),
            (None, {"onnx__model_DOT_onnx": "x", "voices__af_DOT_bin": "x"}, Kind("speech", "kokoro")),
        ],
    )  # fmt: skip
    def test_task_and_engine_follow_from_the_files(
        self, model: Make, config: Any, files: dict[str, str], expected: Kind
    ) -> None:
        assert kind_of(find(str(model("one", config, **files)))) == expected

    @pytest.mark.parametrize(
        ("config", "files", "reported"),
        [
            (LLAMA, {}, "has no chat template, so it cannot chat: a base model? Name its variant for chats"),
            ({"model_type": "whisper"}, {}, "name its conversion, such as Systran/faster-whisper-base"),
            ({"model": "xtts"}, {}, "whose licence you must accept in its entry"),
            ({"architectures": ["CLIPModel"]}, {}, "CLIPModel is no model that chats, draws, hears, speaks, embeds"),
            (
                {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "bad", "1": "good"}},
                {},
                "a classifier of several labels, which no route serves",
            ),
            (None, {"weights_DOT_gguf": "x"}, "it has GGUF files, which no engine here runs"),
            (None, {}, "it has no config.json and no model_index.json"),
            (None, {"adapter_config_DOT_json": "{}"}, "is an adapter (LoRA), no model"),
        ],
    )
    def test_what_cannot_be_served_so_says_why_and_what_to_do(
        self, model: Make, config: Any, files: dict[str, str], reported: str
    ) -> None:
        with pytest.raises(ConfigError) as caught:
            kind_of(find(str(model("one", config, **files))))
        assert reported in str(caught.value)

    def test_a_pickle_is_refused(self, model: Make) -> None:
        folder = chat_model(model)
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        source = find(str(folder))
        with pytest.raises(ConfigError, match=r"pytorch_model.bin is a pickle, which runs code of whoever made it"):
            plan([(source, kind_of(source))], CPU)

    def test_a_folder_of_the_project_is_named_from_there(self) -> None:
        assert find(str(PROJECT_FOLDER / "local_models" / "shapes")).name == "./local_models/shapes"


class TestOnOneGpu:
    MACHINE = Machine(16, 60.0, (L4,), fast_bfloat16=False)

    def test_a_model_alone_has_the_whole_gpu_and_the_context_that_fits(self) -> None:
        (made,) = planned(self.MACHINE, on_hub("eight", 15.0))
        assert made.resources.num_gpus == 1
        context = made.engine_kwargs["max_model_len"]
        assert 20_000 < context < 32_768
        assert made.engine_kwargs["tool_call_parser"] == "hermes"
        assert made.revision == "a" * 40
        assert verdict(made, demand(made), L4.memory_gib).fits

    def test_its_context_is_not_longer_than_the_model_s(self) -> None:
        (made,) = planned(self.MACHINE, on_hub("small", 1.0, LLAMA | {"max_position_embeddings": 2048}))
        assert made.engine_kwargs["max_model_len"] == 2048

    def test_one_that_is_too_large_is_refused_with_the_sum(self) -> None:
        with pytest.raises(
            ConfigError, match=r"do not fit: large 42.0 GiB.*there are 1 x 22.0 GiB of GPU. Name smaller"
        ):
            planned(self.MACHINE, on_hub("large", 40.0))

    def test_several_share_it_each_with_a_cache_of_a_fixed_size(self) -> None:
        found = planned(self.MACHINE, on_hub("one", 4.0), on_hub("two", 2.0))
        assert sum(one.resources.num_gpus for one in found) <= 1
        for one in found:
            assert one.engine_kwargs["kv_cache_memory_bytes"] > 0
            assert one.engine_kwargs["gpu_memory_utilization"] == one.resources.num_gpus
            assert verdict(one, demand(one), L4.memory_gib).fits

    def test_several_that_do_not_fit_together_are_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"one 13.0 GiB, two 13.0 GiB.*of the GPU that they would share"):
            planned(self.MACHINE, on_hub("one", 11.0), on_hub("two", 11.0))

    def test_a_gpu_without_bfloat16_computes_in_half(self) -> None:
        (made,) = planned(Machine(8, 30.0, (T4,), fast_bfloat16=False), on_hub("one", 4.0))
        assert made.engine_kwargs["dtype"] == "half"


class TestOnSeveralGpus:
    def test_each_model_has_its_own(self) -> None:
        found = planned(Machine(16, 60.0, (L4, L4), fast_bfloat16=False), on_hub("one", 4.0), on_hub("two", 2.0))
        assert [one.resources.num_gpus for one in found] == [1, 1]

    def test_one_that_is_too_large_for_one_is_spread(self) -> None:
        (made,) = planned(Machine(16, 60.0, (L4,) * 4, fast_bfloat16=False), on_hub("large", 30.0))
        assert made.resources.num_gpus == made.engine_kwargs["tensor_parallel_size"] == 2


class TestOnCpus:
    def test_a_chat_model_has_a_short_context_and_a_cache_for_a_few_conversations(self, model: Make) -> None:
        source = find(str(chat_model(model)))
        (made,) = planned(CPU, (source, kind_of(source)))
        assert made.resources.num_gpus == 0
        assert made.engine_kwargs["max_model_len"] == 4096
        each = 2 * 32 * 8 * 128 * 4  # float32
        assert made.engine_kwargs["kv_cache_memory_bytes"] == 4 * 4096 * each
        assert made.env["OMP_NUM_THREADS"] == "4"

    def test_bfloat16_where_the_cpu_is_fast_at_it(self, model: Make) -> None:
        source = find(str(chat_model(model)))
        for fast, dtype in ((True, "bfloat16"), (False, "float32")):
            (made,) = planned(CPU._replace(fast_bfloat16=fast), (source, kind_of(source)))
            assert made.engine_kwargs["dtype"] == dtype

    def test_models_that_memory_has_no_room_for_are_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"large 41.6 GiB.*15.0 GiB of memory that is free for models"):
            planned(CPU, on_hub("large", 20.0))

    def test_what_ray_reserves_for_all_fits_the_cores(self) -> None:
        small = LLAMA | {"max_position_embeddings": 2048, "num_hidden_layers": 2}
        found = planned(CPU, *(on_hub(f"m{number}", 0.1, small) for number in range(5)))
        assert sum(one.resources.num_cpus for one in found) < CPU.cores

    def test_speech_by_rules_and_by_onnx_stays_there_beside_a_gpu(self) -> None:
        source = find("espeak-ng")
        (made,) = planned(Machine(4, 16.0, (L4,), fast_bfloat16=False), (source, kind_of(source)))
        assert (made.engine, made.resources.num_gpus) == ("espeak-ng", 0)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder for configuration, on a machine without GPUs."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(choice, "this_machine", lambda: CPU)
    return tmp_path / "config" / "portico"


class TestFile:
    def test_it_is_written_where_the_command_says_and_is_right(self, model: Make, home: Path, capsys: Any) -> None:
        folder = chat_model(model)
        assert main(["serve", str(folder), "espeak-ng", "--no-start", "--port", "8123"]) == 0
        path = home / "my-chat+espeak-ng.yaml"
        assert str(path) in capsys.readouterr().err.replace("\n", "")
        content, config = read_serve_config(path)
        assert content["http_options"] == {"host": "127.0.0.1", "port": 8123}
        assert [(one.id, one.engine) for one in config.models] == [("my-chat", "vllm"), ("espeak-ng", "espeak-ng")]
        assert path.read_text().startswith(f"# Written by `portico serve {folder} espeak-ng`")

    def test_a_gpu_without_the_packages_for_it_is_told(
        self, model: Make, home: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(driver, "gpus", lambda: [L4])
        assert main(["serve", str(chat_model(model)), "--no-start"]) == 0
        assert "NVIDIA L4 is here and not used: `make gpu" in " ".join(capsys.readouterr().err.split())

    def test_once_more_it_is_left_as_it_is(self, model: Make, home: Path, capsys: Any) -> None:
        command = ["serve", str(chat_model(model)), "--no-start"]
        assert main(command) == 0
        before = (home / "my-chat.yaml").stat().st_mtime_ns
        assert main(command) == 0
        assert "As before:" in capsys.readouterr().err
        assert (home / "my-chat.yaml").stat().st_mtime_ns == before

    def test_with_other_options_it_is_written_anew(self, model: Make, home: Path) -> None:
        folder = str(chat_model(model))
        assert main(["serve", folder, "--no-start"]) == 0
        assert main(["serve", folder, "--no-start", "--port", "8001"]) == 0
        assert yaml.safe_load((home / "my-chat.yaml").read_text())["http_options"]["port"] == 8001

    @pytest.mark.parametrize("text", ["# mine\n", None], ids=["of the user", "changed by hand"])
    def test_what_a_user_wrote_is_never_overwritten_unasked(
        self, model: Make, home: Path, capsys: Any, text: str | None
    ) -> None:
        command = ["serve", str(chat_model(model)), "--no-start"]
        assert main(command) == 0
        path = home / "my-chat.yaml"
        changed = text or path.read_text().replace("4096", "2048")
        path.write_text(changed)
        assert main(command) == Status.WRONG
        assert "`--overwrite` writes it anew, `--output` another one" in capsys.readouterr().err
        assert path.read_text() == changed
        assert main([*command, "--output", str(home / "other.yaml")]) == 0
        assert main([*command, "--overwrite"]) == 0
        assert path.read_text() != changed

    @pytest.mark.parametrize(
        ("what", "reported"),
        [
            (["nowhere"], "nowhere is neither a folder nor a name on the hub, such as Qwen/Qwen3-0.6B"),
            (["./nowhere/model"], "neither a folder nor a name on the hub"),
            (["one.yaml", "espeak-ng"], "one.yaml is a config file: serve one file, or models"),
            (["espeak-ng", "espeak-ng"], "the id 'espeak-ng' stands there twice"),
        ],
    )
    def test_what_is_neither_a_file_nor_a_model_is_reported(
        self, home: Path, capsys: Any, what: list[str], reported: str
    ) -> None:
        assert main(["serve", *what, "--no-start"]) == Status.WRONG
        assert reported in capsys.readouterr().err
        assert not home.exists()


class TinyHub(Hub):
    """Whose model the weights of are not to be read."""

    FILES: ClassVar[dict[str, str]] = {"config.json": json.dumps(LLAMA), "chat_template.jinja": TEMPLATE}
    UNREAD: ClassVar[dict[str, int]] = {"model.safetensors": 2_000_000}


@pytest.fixture
def hub() -> Iterator[str]:
    with serving(TinyHub) as endpoint:
        yield endpoint


def served(name: str, endpoint: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`portico serve NAME --no-start` in a process of its own: the hub's library reads its environment once."""
    environment = os.environ | {
        "HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hf"), "XDG_CONFIG_HOME": str(folder / "config"),
    }  # fmt: skip
    environment.pop("HF_HUB_OFFLINE", None)
    command = [sys.executable, "-m", "app", "serve", name, "--no-start"]
    return subprocess.run(
        command, cwd=PROJECT_FOLDER, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


class TestHub:
    def test_a_hub_name_is_pinned_to_its_commit_and_no_weights_are_read(self, hub: str, tmp_path: Path) -> None:
        TinyHub.asked.clear()
        result = served("org/tiny", hub, tmp_path)
        assert result.returncode == 0, result.stderr
        _, config = read_serve_config(tmp_path / "config" / "portico" / "tiny.yaml")
        (made,) = config.models
        assert (made.id, made.source, made.revision) == ("tiny", "org/tiny", TinyHub.COMMIT)
        assert (made.task, made.engine, made.engine_kwargs["tool_call_parser"]) == ("chat", "vllm", "hermes")
        assert not any("model.safetensors" in path for path in TinyHub.asked)

    def test_a_name_that_the_hub_does_not_know_says_so(self, hub: str, tmp_path: Path) -> None:
        result = served("org/nothing", hub, tmp_path)
        assert result.returncode == Status.WRONG
        assert "org/nothing: the hub has no model of this name, or it is private" in result.stderr

    def test_without_a_network_it_says_what_to_do(self, tmp_path: Path) -> None:
        result = served("org/tiny", "http://127.0.0.1:9", tmp_path)
        assert result.returncode == Status.WRONG
        assert "the hub at http://127.0.0.1:9 cannot be reached" in result.stderr
        assert "or name a folder that has the model's files" in result.stderr
        assert "Traceback" not in result.stderr
