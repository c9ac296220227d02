"""What is found in a config file: all of it at once, each with its place and what to do."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from app.__main__ import main
from app.commands.deploy import deploy
from app.commands.findings import espeak_voices, resources, sums, vllm_arguments
from app.commands.findings.duplicate_keys import duplicate_findings
from app.commands.findings.whole_file import findings, refuse_faults
from app.config.service import read_serve_config
from contract.fields import ConfigError
from contract.project import PROJECT_FOLDER
from tests.unit.conftest import config_args

EMBEDDER = {"task": "embeddings", "engine": "sentence-transformers"}
CONFIGS = PROJECT_FOLDER / "serve_configs"


def content(**model: Any) -> dict[str, Any]:
    """A right file for this machine, with one model and `model` in its entry."""
    entry = {"id": "alpha", "task": "chat", "engine": "vllm", "source": "hub/alpha", "revision": "0" * 40} | model
    keys = config_args()["keys"][:1]
    application = {"import_path": "app.builder:build", "args": {"models": [entry], "keys": keys}}
    return {"http_options": {"host": "127.0.0.1"}, "applications": [application]}


def found(tmp_path: Path, written: Any) -> list[str]:
    """The faults of a file."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(written))
    return [str(one) for one in findings(path)[0] if one.is_fault]


def test_nothing_is_wrong_in_a_right_file(tmp_path: Path) -> None:
    assert found(tmp_path, content()) == []


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_no_key_of_a_shipped_file_is_unknown(path: Path) -> None:
    assert [str(one) for one in findings(path)[0] if "no such field" in one.message] == []


@pytest.mark.parametrize(
    ("place", "key", "reported"),
    [
        ((), "http_option", "http_option: there is no such field (did you mean http_options?)"),
        (("http_options",), "prot", "http_options.prot: there is no such field (did you mean port?)"),
        (
            ("applications", 0),
            "route_prefx",
            "applications[0].route_prefx: there is no such field (did you mean route_",
        ),
        (("applications", 0, "args"), "limit", "limit: there is no such field (did you mean limits?)"),
        (
            ("applications", 0, "args", "models", 0),
            "tasks",
            "models[0].tasks: there is no such field (did you mean task",
        ),
        (
            ("applications", 0, "args", "models", 0, "resources"),
            "num_cpu",
            "models[0].resources.num_cpu: there is no such field (did you mean num_cpus?)",
        ),
        (
            ("applications", 0, "args", "keys", 0),
            "budgets",
            "keys[0].budgets: there is no such field (did you mean bud",
        ),
    ],
)
def test_an_unknown_key_is_found_at_every_level(
    tmp_path: Path, place: tuple[Any, ...], key: str, reported: str
) -> None:
    written: Any = content(resources={})
    inside = written
    for part in place:
        inside = inside[part]
    inside[key] = "x"
    assert [line[: len(reported)] for line in found(tmp_path, written)] == [reported]


def test_a_wrong_type_of_serve_s_own_keys_is_found(tmp_path: Path) -> None:
    written = content()
    written["http_options"]["port"] = "eight"
    assert [line.partition(":")[0] for line in found(tmp_path, written)] == ["http_options.port"]


def test_all_that_is_wrong_is_said_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(vllm_arguments, "faults", lambda _: [["engine_kwargs.max_model_length is not an argument"]])
    monkeypatch.setattr(resources, "cpus_here", lambda: 8)
    written: Any = content(
        source="./nowhere",
        revision=None,
        tsk="chat",
        resources={"num_cpus": 400},
        engine_kwargs={"max_model_length": 1},
    )
    written["applications"][0]["args"]["limits"] = {"max_body_bytes": 0}
    written["http_options"] = {}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(written))
    assert main(["check", str(path)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "The configuration is wrong:"
    for fault in (
        "models[0].tsk: there is no such field (did you mean task?)",
        "limits.max_body_bytes: Input should be greater than",
        "keys[0]: the local key is public, so it may not serve 0.0.0.0, which is Ray's default where http_options has",
        "models[0].engine_kwargs.max_model_length is not an argument",
    ):
        assert sum(line.startswith(fault) for line in said) == 1, fault


class TestPlaces:
    @pytest.mark.parametrize(
        ("model", "reported"),
        [
            ({"source": "./nowhere"}, "models[0].source: ./nowhere is not there"),
            (
                {"source": "./local_models/nowhere"},
                "models[0].source: ./local_models/nowhere is not there; `make serve`",
            ),
            ({"packages": ["./nowhere"]}, "models[0].packages[0]: ./nowhere is not there"),
            (
                {"engine_kwargs": {"chat_template": "/no/where.jinja"}},
                "models[0].engine_kwargs.chat_template: /no/where",
            ),
            (
                {"speculation": {"method": "draft_model", "model": "/no/draft"}},
                "models[0].speculation.model: /no/draft is not there",
            ),
        ],
        ids=str,
    )
    def test_a_folder_or_a_file_that_is_not_there_is_found(self, tmp_path: Path, model: Any, reported: str) -> None:
        more = {"revision": None} if "source" in model else {}
        assert [line[: len(reported)] for line in found(tmp_path, content(**model, **more))] == [reported]

    def test_where_the_replicas_run_elsewhere_it_is_no_fault_and_is_said(self, tmp_path: Path) -> None:
        written = content(source="/models/mine", revision=None)
        written["http_options"]["host"] = "10.0.0.7"
        written["applications"][0]["args"]["keys"][0]["sha256"] = "0" * 64
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(written))
        (finding,) = findings(path)[0]
        assert not finding.is_fault
        assert "/models/mine is not on this machine; it must be on every node" in finding.message

    def test_a_template_that_is_a_text_is_no_path(self, tmp_path: Path) -> None:
        assert found(tmp_path, content(engine_kwargs={"chat_template": "/{% for m in messages %}/{{ m }}"})) == []

    @pytest.mark.parametrize(
        ("engine", "file", "wrong", "near"),
        [
            ("piper", "en/en_US-joe-medium.onnx", "en_US-joe-medum:p1", "en_US-joe-medium"),
            ("kokoro", "voices/af_heart.bin", "af_hart", "af_heart"),
        ],
    )
    def test_a_voice_that_the_folder_lacks_is_found(
        self, tmp_path: Path, engine: str, file: str, wrong: str, near: str
    ) -> None:
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).touch()
        voices = {"alloy": Path(file).stem, "nova": wrong}
        written = content(
            task="speech", engine=engine, source=str(tmp_path), revision=None, engine_kwargs={"voices": voices}
        )
        assert found(tmp_path, written) == [
            f"models[0].engine_kwargs.voices.nova: the folder has no voice {wrong.partition(':')[0]}; it has {near}"
        ]

    @pytest.mark.parametrize("archive", ["voices-v1.0.npz", "voices-v1.0.bin"])
    def test_a_voice_that_an_archive_of_kokoro_lacks_is_found(self, tmp_path: Path, archive: str) -> None:
        with (tmp_path / archive).open("wb") as file:
            np.savez(file, af_heart=np.zeros(1), am_adam=np.zeros(1))
        options = {"voices": {"alloy": "af_heart", "nova": "af_hart"}}
        written = content(task="speech", engine="kokoro", source=str(tmp_path), revision=None, engine_kwargs=options)
        fault = "models[0].engine_kwargs.voices.nova: the folder has no voice af_hart; it has af_heart ..."
        assert found(tmp_path, written) == [fault]

    def test_a_voice_that_espeak_lacks_is_found(self, tmp_path: Path) -> None:
        options = {"voices": {"alloy": "en-us+m3", "echo": "nor-this", "nova": "no-such-voice"}}
        written = content(task="speech", engine="espeak-ng", source="espeak-ng", revision=None, engine_kwargs=options)
        assert found(tmp_path, written) == [
            f"models[0].engine_kwargs.voices.{name}: eSpeak NG has no voice {voice}; `espeak-ng --voices` lists them, "
            "such as en-us"
            for name, voice in [("echo", "nor-this"), ("nova", "no-such-voice")]
        ]

    def test_where_espeak_is_not_installed_that_is_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(espeak_voices, "missing_voices", lambda _: None)
        options = {"voices": {"alloy": "en-us"}}
        written = content(task="speech", engine="espeak-ng", source="espeak-ng", revision=None, engine_kwargs=options)
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(written))
        (finding,) = findings(path)[0]
        assert (finding.is_fault, "eSpeak NG were not checked" in finding.message) == (False, True)

    def test_a_default_voice_that_is_none_is_found(self, tmp_path: Path) -> None:
        options = {"voices": {"alloy": "en-us"}, "default_voice": "nova"}
        written = content(task="speech", engine="espeak-ng", source="espeak-ng", revision=None, engine_kwargs=options)
        (line,) = found(tmp_path, written)
        assert "default_voice 'nova' is not one of voices: alloy" in line


class TestResources:
    @pytest.fixture(autouse=True)
    def _machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(resources, "cpus_here", lambda: 8)
        monkeypatch.setattr(resources, "gpus_here", lambda: 1)

    @pytest.mark.parametrize(
        ("wanted", "reported"),
        [
            ({"num_cpus": 400}, "models[0].resources.num_cpus: 400 for each replica, and this machine has 8 CPUs"),
            ({"num_gpus": 2}, "models[0].resources.num_gpus: 2 for each replica, and this machine has 1 GPUs"),
            (
                {"num_cpus": 4000},
                "models[0].resources.num_cpus: 4000 for each replica, and no machine has more than 1920",
            ),
        ],
        ids=str,
    )
    def test_more_than_the_machine_has_is_found(self, tmp_path: Path, wanted: Any, reported: str) -> None:
        size = {"tensor_parallel_size": 2} if "num_gpus" in wanted else {}
        assert [line[: len(reported)] for line in found(tmp_path, content(resources=wanted, engine_kwargs=size))] == [
            reported
        ]

    def test_another_machine_may_have_more_than_this_one_and_none_has_everything(self, tmp_path: Path) -> None:
        written = content(resources={"num_cpus": 400})
        written["http_options"]["host"] = "10.0.0.7"
        written["applications"][0]["args"]["keys"][0]["sha256"] = "0" * 64
        assert found(tmp_path, written) == []
        elsewhere: Any = copy.deepcopy(written)
        elsewhere["applications"][0]["args"]["models"][0]["resources"]["num_cpus"] = 4000
        assert len(found(tmp_path, elsewhere)) == 1


class TestSums:
    """What runs at once on this machine, with 2 CPUs and 1 GPU."""

    @pytest.fixture(autouse=True)
    def _machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (resources, sums):
            monkeypatch.setattr(module, "cpus_here", lambda: 2)
            monkeypatch.setattr(module, "gpus_here", lambda: 1)

    def several(self, *models: dict[str, Any], **args: Any) -> dict[str, Any]:
        written = content()
        inside = written["applications"][0]["args"]
        (entry,) = inside["models"]
        inside["models"] = [entry | {"id": f"model-{number}"} | model for number, model in enumerate(models)]
        inside |= args
        written["applications"][0]["autoscaling_policy"] = {"policy_function": "app.autoscaling:ApplicationPolicy"}
        return written

    @pytest.mark.parametrize("name", ["tiny", "local"])
    def test_the_files_for_two_cores_are_right(self, name: str) -> None:
        _, config = read_serve_config(CONFIGS / f"{name}.yaml")
        assert list(sums.sum_findings(config)) == []

    def test_the_file_for_one_gpu_is_right_there_and_on_a_machine_without_one(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, config = read_serve_config(CONFIGS / "small.yaml")
        monkeypatch.setattr(sums, "cpus_here", lambda: 8)
        assert list(sums.sum_findings(config)) == []
        monkeypatch.setattr(sums, "cpus_here", lambda: 2)
        monkeypatch.setattr(sums, "gpus_here", lambda: 0)
        assert list(sums.sum_findings(config)) == []

    @pytest.mark.parametrize(
        ("models", "reported"),
        [
            ([{"resources": {"num_cpus": 1}}] * 2, "with the gateway they reserve 2.1 CPUs at once, and this machine"),
            ([{"scaling": {"min_replicas": 2, "max_replicas": 2}}], "with the gateway they reserve 2.1 CPUs at once"),
            (
                [EMBEDDER | {"resources": {"num_cpus": 0, "num_gpus": 0.6}}] * 2,
                "they reserve 2 GPUs at once, and this machine has 1",
            ),
        ],
        ids=["models", "replicas of one", "GPUs"],
    )
    def test_more_at_once_than_the_machine_has_is_found(self, tmp_path: Path, models: Any, reported: str) -> None:
        (line,) = found(tmp_path, self.several(*models))
        assert line.startswith(f"models: {reported}")

    def test_models_that_scale_to_zero_have_their_turns(self, tmp_path: Path) -> None:
        sleeper = {"mode": "flex", "resources": {"num_cpus": 1}}
        always = {"resources": {"num_cpus": 0.5}}
        assert found(tmp_path, self.several(always, sleeper, sleeper, sleeper)) == []
        assert len(found(tmp_path, self.several(always, always, sleeper))) == 1

    def test_replicas_that_are_only_added_under_load_do_not_count(self, tmp_path: Path) -> None:
        scaling = {"min_replicas": 1, "max_replicas": 9}
        assert found(tmp_path, self.several({"scaling": scaling})) == []


def test_a_key_that_is_given_twice_is_found(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    text = yaml.safe_dump(content(resources={"num_cpus": 1}), sort_keys=False)
    path.write_text(text.replace("num_cpus: 1", "num_cpus: 1\n        num_gpus: 0\n        num_cpus: 0.5"))
    (line,) = [str(one) for one in findings(path)[0] if one.is_fault]
    place = "applications[0].args.models[0].resources.num_cpus"
    assert line.startswith(f"{place}: it is given twice, in line ")
    assert line.endswith("; keep one of them")


def test_what_an_anchor_repeats_is_given_once(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("a: &a {x: 1}\nb: &b\n  <<: *a\n  x: 2\nc: [*a, *b, *b]\n")
    assert list(duplicate_findings(path)) == []


class TestCommands:
    """`check --json`, and what `serve` and `deploy` do with a wrong file."""

    @pytest.fixture
    def wrong(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Of several kinds."""
        monkeypatch.setattr(vllm_arguments, "faults", lambda _: [["engine_kwargs.max_model_length is no argument"]])
        options = {"max_model_length": 1}
        written = content(source="./nowhere", revision=None, engine_kwargs=options)
        written["http_option"] = {}
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(written))
        return path

    EXPECTED = (
        "http_option: there is no such field",
        "models[0].source: ./nowhere is not there",
        "models[0].engine_kwargs.max_model_length is no argument",
    )

    def test_serve_names_all_of_it_and_starts_nothing(
        self, wrong: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.commands.serve.start", lambda *_, **__: pytest.fail("it started"))
        assert main(["serve", str(wrong)]) == 2
        said = capsys.readouterr().err
        assert all(fault in said for fault in self.EXPECTED)

    def test_deploy_names_all_of_it_and_hands_nothing_over(self, wrong: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.commands.running_serve.apply", lambda _: pytest.fail("it was handed over"))
        with pytest.raises(ConfigError) as caught:
            deploy(wrong)
        assert all(fault in str(caught.value) for fault in self.EXPECTED)

    def test_serve_does_not_wait_for_vllm_where_all_else_is_right(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(vllm_arguments, "faults", lambda _: pytest.fail("vLLM was asked"))
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(content(engine_kwargs={"max_model_len": 9})))
        refuse_faults(path, quick=True)

    def test_check_prints_json(self, wrong: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check", str(wrong), "--json"]) == 2
        said = json.loads(capsys.readouterr().out)
        assert said["file"] == str(wrong)
        assert [one["place"] for one in said["faults"]] == ["http_option", "models[0].source", ""]
        right = wrong.with_name("right.yaml")
        right.write_text(yaml.safe_dump(content()))
        assert main(["check", str(right), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["faults"] == []


def test_where_vllm_is_not_installed_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_arguments, "faults", lambda _: None)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content(engine_kwargs={"max_model_len": 9})))
    (finding,) = findings(path)[0]
    assert (finding.is_fault, "vLLM is not installed here" in finding.message) == (False, True)


@pytest.mark.parametrize("written", [None, [], "text", {"applications": []}, {"applications": [{"args": 3}]}], ids=str)
def test_a_file_of_another_form_has_one_fault(tmp_path: Path, written: Any) -> None:
    assert len(found(tmp_path, written)) == 1


def test_a_file_of_headers_for_traces_that_no_receiver_could_read_is_found(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    written = content()
    tracing = {"endpoint": "http://collector:4318", "headers_file": str(file)}
    written["applications"][0]["args"]["tracing"] = tracing
    file.write_text("authorization=Bearer%20abc\nx-team=a\n")
    assert found(tmp_path, written) == []
    file.write_text("authorization: Bearer abc\n")
    assert found(tmp_path, written) == [
        "tracing.headers_file: a line of the file is not NAME=VALUE; write one header a line, its value percent-encoded"
    ]
    file.unlink()
    assert found(tmp_path, written) == []  # it may be on the other machines
    notes = [str(one) for one in findings(tmp_path / "config.yaml")[0]]
    assert any(f"{file} is not on this machine" in note for note in notes)


def test_an_endpoint_for_traces_that_cannot_be_one_is_found(tmp_path: Path) -> None:
    written = content()
    written["applications"][0]["args"]["tracing"] = {"endpoint": "http://collector:4317"}
    (fault,) = found(tmp_path, written)
    assert fault.startswith("tracing: endpoint ends in :4317, where collectors take grpc")
