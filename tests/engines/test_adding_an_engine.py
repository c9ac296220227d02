"""docs/adding-an-engine.md: its examples, put where it says, are engines that a configuration can name."""

import importlib
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import yaml

import contract.options
import deployments
import deployments.speech
from app.config.model_entry import ModelEntry
from contract.options import catalog
from contract.options.catalog import CATALOG, EngineSpec, ServedModel
from contract.options.speech import SpeechOptions
from contract.project import PROJECT_FOLDER
from contract.protocol import EMBEDDINGS_ROUTE, SPEECH_ROUTE, RequestHead, ResponseTail
from deployments.replica import Replica
from tests.audio_files import decoded
from tests.engines.replicas import items_of, started

PAGE = (PROJECT_FOLDER / "docs" / "adding-an-engine.md").read_text()


def blocks(language: str) -> list[str]:
    """The page's code in that language."""
    return [textwrap.dedent(code) for code in re.findall(rf"```{language}\n(.*?)\n *```", PAGE, re.DOTALL)]


TONE, TONE_SPEC, HASHING, HASHING_OPTIONS, HASHING_SPEC, ASKING = blocks("python")
(ENTRY,) = blocks("yaml")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose files lie over the project's own, until the test ends."""
    before = set(sys.modules)
    for package in (deployments, deployments.speech, contract.options):
        place = tmp_path / package.__name__.replace(".", "/")
        place.mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(place)])
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("deployments", "contract"):
            del sys.modules[name]


def register(monkeypatch: pytest.MonkeyPatch, line: str, **names: Any) -> EngineSpec:
    spec: EngineSpec = eval(line, {"EngineSpec": EngineSpec} | names)  # noqa: S307 - the line of our own page
    monkeypatch.setitem(CATALOG, spec.name, spec)
    monkeypatch.setattr(catalog, "SPECS", tuple(CATALOG.values()))
    return spec


async def test_the_speech_engine_beeps(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = yaml.safe_load(ENTRY)
    with pytest.raises(ValueError, match="there is no engine 'tone'"):
        ModelEntry.model_validate(entry)
    (project / "deployments" / "speech" / "tone.py").write_text(TONE)
    spec = register(monkeypatch, TONE_SPEC, SpeechOptions=SpeechOptions)
    model = ModelEntry.model_validate(entry)
    replica = await started(model.engine, model.task, model.source, model.engine_kwargs)
    head, *pieces, tail = await items_of(
        replica, SPEECH_ROUTE, {"input": "Two beeps.", "response_format": "wav", "voice": "high"}
    )
    assert (head.content_type, tail.error) == ("audio/wav", None)
    samples, rate = decoded("wav", b"".join(pieces))
    assert len(samples) / rate == pytest.approx(0.4, abs=0.01)
    assert np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples) == pytest.approx(880, abs=5)
    (refused,) = await items_of(replica, SPEECH_ROUTE, {"input": "..."})
    assert refused.error["code"] == "invalid_value"
    assert (await replica.describe())["engine"] == spec.name


async def test_what_the_page_asks_is_answered(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "deployments" / "speech" / "tone.py").write_text(TONE)
    register(monkeypatch, TONE_SPEC, SpeechOptions=SpeechOptions)
    names = {
        "Replica": Replica,
        "CATALOG": CATALOG,
        "ServedModel": ServedModel,
        "RequestHead": RequestHead,
        "SPEECH_ROUTE": SPEECH_ROUTE,
    }
    exec("async def asked():\n" + textwrap.indent(ASKING, "    ") + "\n    return items", names)  # noqa: S102 - the same
    head, *_, tail = await names["asked"]()  # type: ignore[operator]
    assert (head.status, type(tail)) == (200, ResponseTail)


async def test_the_engine_of_another_family_embeds(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project / "deployments" / "hashing"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "engine.py").write_text(HASHING)
    (project / "contract" / "options" / "hashing.py").write_text(HASHING_OPTIONS)
    options = importlib.import_module("contract.options.hashing").HashingOptions
    register(monkeypatch, HASHING_SPEC, HashingOptions=options)
    replica = await started("hashing", "embeddings", "none", {"dimensions": 8})
    (head,) = await items_of(replica, EMBEDDINGS_ROUTE, {"input": ["the fox the dog", "a"]})
    first, second = (item["embedding"] for item in orjson.loads(head.body)["data"])
    assert (len(first), sum(first), sum(second)) == (8, 4, 1)
    assert head.usage == {"prompt_tokens": 5, "total_tokens": 5}
    with pytest.raises(ValueError, match=r"dimensions: Input should be .* Legal are dimensions"):
        catalog.check_options("hashing", {"dimensions": 0})
