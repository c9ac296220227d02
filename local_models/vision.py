"""`pocket-vision`: a Qwen2-VL of about 350 thousand random weights that takes images and reasons before it answers.

Its template knows no tools, so it is also the model that cannot call any.
"""

from pathlib import Path

from local_models.chat import CONTEXT_LENGTH, SEED, VOCAB_SIZE, make_tokenizer
from local_models.chat import SPECIAL_TOKENS as CHAT_TOKENS

VISION_TOKENS = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
REASONING_TOKENS = ["<think>", "</think>"]  # the last two ids
SPECIAL_TOKENS = CHAT_TOKENS + VISION_TOKENS
PATCH = 14  # pixels; an image becomes one token per 2 x 2 patches
MAX_TOKENS_PER_IMAGE = 64


def make_vision_model(folder: Path) -> None:
    """Write the model, its tokenizer, its processor and its configuration into `folder`."""
    import torch
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    template = Path(__file__).with_name("vision_template.jinja").read_text()
    make_tokenizer(folder, SPECIAL_TOKENS, REASONING_TOKENS, template)
    _processor_config(folder)
    ids = {token: index for index, token in enumerate(SPECIAL_TOKENS)}
    torch.manual_seed(SEED)
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": VOCAB_SIZE,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": CONTEXT_LENGTH,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
            "bos_token_id": ids["<|bos|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|pad|>"],
        },
        vision_config={
            "depth": 2,
            "embed_dim": 64,
            "hidden_size": 64,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": PATCH,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
        dtype="float32",
    )
    Qwen2VLForConditionalGeneration(config).save_pretrained(folder)


def _processor_config(folder: Path) -> None:
    import json

    pixels_per_token = (2 * PATCH) ** 2
    common = {
        "patch_size": PATCH,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "min_pixels": 4 * pixels_per_token,
        "max_pixels": MAX_TOKENS_PER_IMAGE * pixels_per_token,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "processor_class": "Qwen2VLProcessor",
    }
    for name, kind in (
        ("preprocessor_config.json", {"image_processor_type": "Qwen2VLImageProcessor"}),
        ("video_preprocessor_config.json", {"video_processor_type": "Qwen2VLVideoProcessor"}),
    ):
        (folder / name).write_text(json.dumps(common | kind))
