"""What the configuration says of logs reaches Python's loggers: of a replica, and of the processes of an engine."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from app.builder import model_deployment
from app.config.model_entry import ModelEntry
from app.config.service import Config, parse_config
from contract.project import PROJECT_FOLDER
from tests.unit.conftest import config_args

REPLICA = """
import sys, types
own = types.SimpleNamespace(replica_id=types.SimpleNamespace(unique_id="r1"))
sys.modules["ray.serve"] = types.SimpleNamespace(get_replica_context=lambda: own)
import logging, threading, warnings
from contract import log_settings
from contract.log_settings import LogSettings
serve = logging.getLogger("ray.serve")
serve.propagate = False
serve.addHandler(logging.StreamHandler())
log_settings.begin(LogSettings("FORMAT", {"portico": "warning", "vllm": "debug"}), "pocket-chat")
"""
# As vLLM does in each of its processes, after it was given the file by its argument.
ENGINE = """
import json, logging.config
logging.config.dictConfig(json.load(open("deployments/vllm/logging.json")))
logging.getLogger("vllm.v1.engine.core").debug("a step")
logging.getLogger("vllm.entrypoints.anthropic.serving").debug("a prompt")
logging.getLogger("portico.slots").info("not at this level")
"""


def run(code: str, **environment: str) -> list[str]:
    """The lines that a process writes to its standard error."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=PROJECT_FOLDER, env=os.environ | environment, check=True
    )
    return done.stderr.splitlines()


def lines_of(code: str, **environment: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(code, **environment)]


def replica(code: str, log_format: str = "json") -> str:
    return REPLICA.replace("FORMAT", log_format) + code


class TestReplica:
    def test_all_that_it_writes_names_it(self) -> None:
        code = "logging.getLogger('portico.slots').warning('no room'); serve.warning('slow'); warnings.warn('old')"
        lines = lines_of(replica(code))
        assert [line["logger"] for line in lines] == ["portico.slots", "ray.serve", "py.warnings"]
        assert {(line["deployment"], line["replica"]) for line in lines} == {("pocket-chat", "r1")}

    def test_where_a_thread_ends_in_an_exception_the_line_has_its_traceback(self) -> None:
        code = "t = threading.Thread(target=lambda: 1 / 0, name='feeder'); t.start(); t.join()"
        (line,) = lines_of(replica(code))
        assert "feeder" in line["message"]
        assert line["exc_info"].endswith("ZeroDivisionError: division by zero")

    def test_its_lines_do_not_go_through_what_serve_puts_in_place_of_standard_error(self) -> None:
        """In production that is a logger, at whose level they would be lost."""
        code = "sys.stderr = None; sys.stdout = None; logging.getLogger('portico.slots').warning('no room')"
        assert len(lines_of(replica(code))) == 1

    def test_a_change_of_level_and_format_is_followed(self) -> None:
        code = """
slots = logging.getLogger("portico.slots")
slots.info("before")
log_settings.follow(LogSettings("text", {"portico": "info"}))
slots.info("after")
"""
        (line,) = run(replica(code))
        assert line.endswith("INFO portico.slots after")

    def test_audit_lines_are_written_at_any_level(self) -> None:
        code = "logging.getLogger('portico.audit').info('key.revoked')"
        assert [line["logger"] for line in lines_of(replica(code))] == ["portico.audit"]

    def test_vllm_writes_no_prompt_at_debug(self) -> None:
        code = "\n".join(
            f"logging.getLogger('vllm.{part}').debug('x')"
            for part in ("entrypoints.a", "parser", "renderers.chat_utils", "v1")
        )
        assert [line["logger"] for line in lines_of(replica(code))] == ["vllm.v1"]

    def test_outside_of_serve_nothing_changes(self) -> None:
        code = """
import logging
from contract import log_settings
log_settings.begin(log_settings.DEFAULT, "m")
log_settings.follow(log_settings.DEFAULT)
logging.getLogger("portico").info("x")
print(logging.getLogger().handlers, file=sys.stderr)
"""
        assert run(f"import sys{code}") == ["[]"]


class TestEngineProcess:
    def test_it_has_the_replica_s_settings_and_name_from_its_environment(self) -> None:
        variable = run(replica("import os; sys.stderr.write(os.environ['PORTICO_LOG'])"))[0]
        (line,) = lines_of(ENGINE, PORTICO_LOG=variable)
        assert (line["logger"], line["message"], line["level"]) == ("vllm.v1.engine.core", "a step", "debug")
        assert (line["deployment"], line["replica"]) == ("pocket-chat", "r1")

    def test_the_variables_of_vllm_in_the_entry_s_environment_have_precedence(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from deployments.vllm.log import logging_arguments

        monkeypatch.delenv("PORTICO_LOG", raising=False)
        assert logging_arguments() == {}  # in a notebook
        monkeypatch.setenv("PORTICO_LOG", "{}")
        assert "logging_config" in logging_arguments()
        monkeypatch.setenv("VLLM_CONFIGURE_LOGGING", "0")
        assert logging_arguments() == {}


def entry(**changes: Any) -> ModelEntry:
    return ModelEntry.model_validate({"id": "m", "task": "chat", "engine": "vllm", "source": "./m"} | changes)


def config(**changes: Any) -> Config:
    return parse_config(config_args(**changes))


class TestConfiguration:
    def test_a_model_s_level_is_the_common_one_or_its_own(self) -> None:
        common = config(logging={"level": "warning"}).logging
        assert entry().log_settings(common).levels == {"portico": "warning", "vllm": "warning"}
        assert entry(log_level="debug").log_settings(common).levels == {"portico": "debug", "vllm": "debug"}

    def test_vllm_s_own_variable_holds_where_the_entry_has_no_level(self) -> None:
        common, env = config().logging, {"VLLM_LOGGING_LEVEL": "ERROR"}
        assert entry(env=env).log_settings(common).levels == {"portico": "info", "vllm": "error"}
        assert entry(env=env, log_level="info").log_settings(common).levels["vllm"] == "info"

    def test_a_change_of_it_restarts_nothing_and_reaches_the_replicas(self) -> None:
        """Serve restarts where the version changes, and calls `reconfigure` where the `user_config` does."""
        common = config().logging
        made = [
            model_deployment(one, one.log_settings(common))._deployment_config
            for one in (entry(), entry(log_level="debug"))
        ]
        assert made[0].version == made[1].version
        assert made[0].user_config != made[1].user_config
        assert made[1].user_config["log"]["levels"]["portico"] == "debug"
