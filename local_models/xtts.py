"""`pocket-xtts`: an XTTS of random weights with two speakers, without words. Made with the packages of xtts.txt.

Most of it is the part that makes waves, whose size is fixed.
"""

import json
from pathlib import Path

from local_models.chat import SEED

SPEAKERS = ("Ada", "Brian")
LANGUAGES = ["en", "de", "zh-cn"]
WIDTH = 64
LATENTS = 32
AUDIO_TOKENS = 8  # at most, of a sentence: a third of a second


def make_xtts_model(folder: Path) -> None:
    """Write the model, its tokenizer and its speakers into `folder`."""
    import torch
    from TTS.tts.configs.xtts_config import XttsArgs, XttsConfig
    from TTS.tts.models.xtts import Xtts

    torch.manual_seed(SEED)
    _save_tokenizer(folder / "vocab.json")
    arguments = XttsArgs(
        gpt_layers=2,
        gpt_n_model_channels=WIDTH,
        gpt_n_heads=2,
        gpt_max_audio_tokens=AUDIO_TOKENS + 3,
        gpt_num_audio_tokens=130,
        gpt_start_audio_token=128,
        gpt_stop_audio_token=129,
        gpt_use_perceiver_resampler=True,
        decoder_input_dim=WIDTH,
        tokenizer_file=str(folder / "vocab.json"),
    )
    config = XttsConfig(model_args=arguments, languages=LANGUAGES)
    model = Xtts(config)
    model.tokenizer = type(model.tokenizer)(folder / "vocab.json")
    model.init_models()
    torch.save({"model": model.state_dict()}, folder / "model.pth")
    config.model_args.tokenizer_file = ""
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    speakers = {
        name: {"gpt_cond_latent": torch.randn(1, LATENTS, WIDTH), "speaker_embedding": torch.randn(1, 512, 1)}
        for name in SPEAKERS
    }
    torch.save(speakers, folder / "speakers_xtts.pth")


def _save_tokenizer(path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE(unk_token="[UNK]"))
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = ["[STOP]", "[UNK]", "[SPACE]", "[START]", *(f"[{language}]" for language in LANGUAGES)]
    trainer = trainers.BpeTrainer(special_tokens=marks, initial_alphabet=list("abcdefghijklmnopqrstuvwxyz"))
    bpe.train_from_iterator([], trainer)
    bpe.save(str(path))
