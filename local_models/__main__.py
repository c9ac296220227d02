"""`python -m local_models [NAME ...]`: make the models that are not there yet, beside this file.

Without names: those that tiny.yaml serves, and the draft model of its chat model.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from local_models.chat import make_chat_model, make_draft_model
from local_models.checker import make_checker
from local_models.embed import make_embedding_model
from local_models.image import make_flux, make_stable_diffusion
from local_models.qwen_tts import make_qwen_tts_model
from local_models.speech import make_bark_model, make_vits_model
from local_models.vision import make_vision_model
from local_models.whisper import make_whisper_model
from local_models.xtts import make_xtts_model

FOLDER = Path(__file__).parent
SERVED = ("pocket-chat", "pocket-draft", "pocket-embed", "pocket-image", "pocket-whisper")
MAKERS: dict[str, Callable[[Path], None]] = {
    "pocket-chat": make_chat_model,
    "pocket-bark": make_bark_model,
    "pocket-checker": make_checker,
    "pocket-draft": make_draft_model,
    "pocket-embed": make_embedding_model,
    "pocket-flux": make_flux,
    "pocket-image": make_stable_diffusion,
    "pocket-qwen-tts": make_qwen_tts_model,
    "pocket-vision": make_vision_model,
    "pocket-vits": make_vits_model,
    "pocket-whisper": make_whisper_model,
    "pocket-xtts": make_xtts_model,
}


def make(name: str, folder: Path = FOLDER) -> bool:
    """Make the model `name` in `folder/name`; false where it was there. A half-made model is never left behind."""
    target = folder / name
    if target.exists():
        return False
    scratch = Path(tempfile.mkdtemp(dir=folder, prefix=f"{name}-"))
    try:
        MAKERS[name](scratch)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return True


if __name__ == "__main__":
    for name in sys.argv[1:] or SERVED:
        start = time.monotonic()
        if make(name):
            print(f"made {name} in {time.monotonic() - start:.1f} s")
