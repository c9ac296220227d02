"""What a model's author could run in a replica, pickles and code: refused at the start, unless the entry allows it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from contract.project import PROJECT_FOLDER
from deployments.weights import PickleError, loading
from tests.engines.replicas import Case, served, started

MODELS = PROJECT_FOLDER / "local_models"


CASES = [
    Case("sentence-transformers", "embeddings", "pocket-embed", {"device": "cpu"}),
    Case("diffusers", "images", "pocket-image", {"device": "cpu", "steps": 2}),
    Case("vits", "speech", "pocket-vits", {"device": "cpu"}),
    Case("bark", "speech", "pocket-bark", {"device": "cpu"}),
]


def with_pickles(folder: Path, *, except_in: str | None = None) -> None:
    """Every safetensors file of `folder` as a pickle of the same weights, but not those in the folder `except_in`."""
    for path in folder.rglob("*.safetensors"):
        if path.parent.name == except_in:
            continue
        name = "pytorch_model" if path.stem == "model" else path.stem
        torch.save(load_file(path), path.with_name(f"{name}.bin"))
        path.unlink()


def copied(case: Case, tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODELS / case.model, tmp_path / case.model))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.engine)
async def test_a_folder_with_pickles_only_starts_where_its_entry_allows_it(case: Case, tmp_path: Path) -> None:
    folder = copied(case, tmp_path)
    with_pickles(folder)
    with pytest.raises(PickleError, match=r"\.bin is a pickle.*`allow: \[pickle\]`"):
        await started(case.engine, case.task, str(folder), case.engine_kwargs)
    (await started(case.engine, case.task, str(folder), case.engine_kwargs, allow=("pickle",))).close()


async def test_a_part_of_a_pipeline_that_is_a_pickle_is_not_read(tmp_path: Path) -> None:
    case = CASES[1]
    folder = copied(case, tmp_path)
    with_pickles(folder, except_in="unet")
    with pytest.raises(OSError, match="safetensors") as caught:
        await started(case.engine, case.task, str(folder), case.engine_kwargs)
    assert "`allow: [pickle]`" in caught.value.__notes__[0]


async def test_a_module_of_an_embedder_that_is_a_pickle_is_not_read(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense

    case = CASES[0]
    model = SentenceTransformer(str(MODELS / case.model), device="cpu")
    size = int(model.get_embedding_dimension() or 0)
    model.append(Dense(size, size))
    folder = tmp_path / "dense"
    model.save(str(folder))
    (dense,) = [path.parent for path in folder.rglob("model.safetensors") if path.parent != folder]
    with_pickles(dense)
    with pytest.raises(PickleError, match=r"pytorch_model\.bin is a pickle"):
        await started(case.engine, case.task, str(folder), case.engine_kwargs)


async def test_code_in_a_model_s_folder_is_run_where_its_entry_allows_it(tmp_path: Path) -> None:
    case, ran = CASES[0], tmp_path / "ran"
    folder = copied(case, tmp_path)
    code = f"import pathlib\nfrom sentence_transformers.models import Normalize\npathlib.Path({str(ran)!r}).touch()\n"
    (folder / "authored.py").write_text(code + "class Authored(Normalize):\n    pass\n")
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": len(modules), "name": "last", "path": "last", "type": "authored.Authored"})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "last").mkdir()
    with pytest.raises(ValueError, match="trust_remote_code") as caught:
        await started(case.engine, case.task, str(folder), case.engine_kwargs)
    assert "`allow: [custom_code]`" in caught.value.__notes__[0]
    assert not ran.exists()
    (await started(case.engine, case.task, str(folder), case.engine_kwargs, allow=("custom_code",))).close()
    assert ran.exists()


async def test_code_in_a_pipeline_s_folder_is_run_where_its_entry_allows_it(tmp_path: Path) -> None:
    case, ran = CASES[1], tmp_path / "ran"
    folder = copied(case, tmp_path)
    code = f"import pathlib\nfrom diffusers import StableDiffusionPipeline\npathlib.Path({str(ran)!r}).touch()\n"
    (folder / "authored.py").write_text(code + "class Authored(StableDiffusionPipeline):\n    pass\n")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": ["authored", "Authored"]}))
    with pytest.raises(ValueError, match="trust_remote_code") as caught:
        await started(case.engine, case.task, str(folder), case.engine_kwargs)
    assert "`allow: [custom_code]`" in caught.value.__notes__[0]
    assert not ran.exists()
    (await started(case.engine, case.task, str(folder), case.engine_kwargs, allow=("custom_code",))).close()
    assert ran.exists()


async def test_a_pickle_that_an_index_of_safetensors_names_is_not_read(tmp_path: Path) -> None:
    """As an author would who wants it read: the library goes by the name of the index."""
    case = CASES[2]
    folder = copied(case, tmp_path)
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "weights.bin")
    (folder / "model.safetensors").unlink()
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(weights, "weights.bin")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    save_file(weights, folder / "unread.safetensors")
    with pytest.raises(PickleError, match=r"weights\.bin is a pickle"):
        await started(case.engine, case.task, str(folder), case.engine_kwargs)


def test_vllm_gets_a_format_without_pickles_unless_they_are_allowed(tmp_path: Path) -> None:
    from deployments.vllm.internals.model_files import load_format

    model = served("vllm", str(tmp_path))
    (tmp_path / "model.safetensors").touch()
    assert load_format(model) == {"load_format": "safetensors"}
    assert load_format(model._replace(engine_kwargs={"load_format": "hf"})) == {"load_format": "safetensors"}
    assert load_format(model._replace(engine_kwargs={"load_format": "dummy"})) == {}
    assert load_format(model._replace(allow=("pickle",))) == {}


def test_vllm_gets_mistral_s_own_format_where_a_folder_has_it(tmp_path: Path) -> None:
    from deployments.vllm.internals.model_files import load_format

    (tmp_path / "consolidated.safetensors").touch()
    assert load_format(served("vllm", str(tmp_path))) == {"load_format": "mistral"}


def test_vllm_refuses_a_folder_with_pickles_only(tmp_path: Path) -> None:
    from deployments.vllm.internals.model_files import load_format

    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(PickleError, match=r"pytorch_model\.bin is a pickle"):
        load_format(served("vllm", str(tmp_path)))


def test_vllm_gets_the_commit_for_the_model_and_for_its_own_tokenizer() -> None:
    from deployments.vllm.internals.model_files import revisions

    model = served("vllm", "hub/name", revision="0" * 40)
    assert revisions(model) == {"revision": "0" * 40, "tokenizer_revision": "0" * 40}
    assert revisions(model._replace(engine_kwargs={"tokenizer": "hub/other"})) == {"revision": "0" * 40}
    assert revisions(model._replace(revision=None)) == {}


def test_libraries_take_safetensors_first_where_pickles_are_allowed_and_else_nothing_but_them(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "weights.pt")
    with loading("hub/name", ()) as use_safetensors:
        assert use_safetensors is True
        with pytest.raises(PickleError, match=r"weights\.pt is a pickle"):
            torch.load(tmp_path / "weights.pt", weights_only=True)
    with loading("hub/name", ["pickle"]) as use_safetensors:
        assert use_safetensors is None
        assert torch.load(tmp_path / "weights.pt", weights_only=True) == {}
    assert torch.load(tmp_path / "weights.pt", weights_only=True) == {}


def test_a_library_that_finds_no_safetensors_says_how_to_allow_pickles() -> None:
    with pytest.raises(OSError, match="no file named") as caught, loading("hub/name", ()):
        raise OSError("no file named model.safetensors")
    assert "`allow: [pickle]`" in caught.value.__notes__[0]
