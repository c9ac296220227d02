"""Which of a model's files vLLM reads: of which commit, and in which format."""

from pathlib import Path
from typing import Any

from contract.options.catalog import ServedModel
from deployments.weights import refuse_pickles

# Formats in which vLLM takes a pickle where there are no safetensors.
MAY_BE_PICKLES = frozenset({"auto", "hf"})


def revisions(served: ServedModel) -> dict[str, Any]:
    """The commit of the model, and of its tokenizer where that is not another's."""
    if served.revision is None:
        return {}
    own = {} if "tokenizer" in served.engine_kwargs else {"tokenizer_revision": served.revision}
    return {"revision": served.revision} | own


def load_format(served: ServedModel) -> dict[str, Any]:
    """vLLM's own choice of a format, but never a pickle. Raises PickleError where the folder has nothing else."""
    from vllm.transformers_utils.repo_utils import is_mistral_model_repo

    given = served.engine_kwargs.get("load_format", "auto")
    if "pickle" in served.allow or given not in MAY_BE_PICKLES or "://" in served.source:
        return {}
    refuse_pickles(Path(served.source))
    is_mistral = given == "auto" and is_mistral_model_repo(served.source, revision=served.revision)
    return {"load_format": "mistral" if is_mistral else "safetensors"}
