"""`python -m local_models [GROUP or MODEL ...]`: put the models that are not here yet beside this file, or into the
folder that PORTICO_LOCAL_MODELS names.

`local` (the default) is what local.yaml serves and is fetched; `tiny` is what tiny.yaml serves, made from nothing.
"""

import errno
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from contract.project import local_models_folder
from local_models.adapter import make_adapter
from local_models.chat import make_chat_model, make_draft_model
from local_models.checker import make_checker
from local_models.embed import make_embedding_model
from local_models.fetch import Fetcher, FetchError, progress_bars
from local_models.fetched import fetch_missing
from local_models.flux2 import make_flux2
from local_models.image import make_flux, make_stable_diffusion
from local_models.onnx_speech import make_kokoro_model, make_piper_voices
from local_models.qwen_tts import make_qwen_tts_model
from local_models.rerank import make_reranking_model
from local_models.sources import FETCHED
from local_models.speech import make_bark_model, make_vits_model
from local_models.vision import make_vision_model
from local_models.voice_sources import VOICES
from local_models.whisper import make_whisper_model
from local_models.xtts import make_xtts_model

FOLDER = local_models_folder()
MAKERS: dict[str, Callable[[Path], None]] = {
    "pocket-chat": make_chat_model,
    "pocket-bark": make_bark_model,
    "pocket-checker": make_checker,
    "pocket-draft": make_draft_model,
    "pocket-embed": make_embedding_model,
    "pocket-flux": make_flux,
    "pocket-flux2": make_flux2,
    "pocket-image": make_stable_diffusion,
    "pocket-kokoro": make_kokoro_model,
    "pocket-lora": make_adapter,
    "pocket-piper": make_piper_voices,
    "pocket-qwen-tts": make_qwen_tts_model,
    "pocket-rerank": make_reranking_model,
    "pocket-vision": make_vision_model,
    "pocket-vits": make_vits_model,
    "pocket-whisper": make_whisper_model,
    "pocket-xtts": make_xtts_model,
}
FETCHABLE = FETCHED | VOICES
GROUPS = {
    "local": tuple(FETCHED),
    # and the draft model of its chat model
    "tiny": ("pocket-chat", "pocket-draft", "pocket-embed", "pocket-image", "pocket-whisper"),
}


def main(arguments: list[str]) -> int:
    names = [name for argument in arguments or ["local"] for name in GROUPS.get(argument, (argument,))]
    unknown = [name for name in names if name not in MAKERS and name not in FETCHABLE]
    if unknown:
        print(
            f"There is no model {', '.join(unknown)} here. Groups: {', '.join(GROUPS)}. "
            f"Models: {', '.join([*FETCHABLE, *MAKERS])}.",
            file=sys.stderr,
        )
        return 2
    try:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name in names:
            if name in MAKERS:
                make(name)
        with progress_bars() as progress:
            fetcher = Fetcher(FOLDER / "downloads", FOLDER / "offline", progress)
            fetch_missing([FETCHABLE[name] for name in names if name in FETCHABLE], FOLDER, fetcher)
    except FetchError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(
            f"\nThe disk of {FOLDER} is full. Free some, then run this again: it goes on from there.", file=sys.stderr
        )
        return 1
    except KeyboardInterrupt:
        print("\nStopped. What was downloaded is kept: the next run goes on from there.", file=sys.stderr)
        return 130
    return 0


def make(name: str, folder: Path = FOLDER) -> bool:
    """Make the model `name` in `folder/name`; false where it was there. A half-made model is never left behind."""
    target = folder / name
    if target.exists():
        return False
    start = time.monotonic()
    scratch = Path(tempfile.mkdtemp(dir=folder, prefix=f"{name}-"))
    try:
        MAKERS[name](scratch)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"made {name} in {time.monotonic() - start:.1f} s")
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
