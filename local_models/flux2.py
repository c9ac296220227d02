"""`pocket-flux2`: a Flux 2 Klein of random weights, which makes one image of several: noise, 64 pixels a side.

The same prompt, images and seed give the same image.
"""

from pathlib import Path
from typing import Any

from local_models.chat import CONTEXT_LENGTH, SEED, SPECIAL_TOKENS, VOCAB_SIZE, make_tokenizer
from local_models.image import SIDE

TEXT_WIDTH = 16
TEXT_LAYERS = 28  # the pipeline reads what the layers 9, 18 and 27 made, together
ROPE = (4, 4, 4, 4)  # which image, row, column, place in the text; together the width of a head
LATENT_CHANNELS = 4
PATCH = 2 * 2  # latents
# Of the transformer's matrices, so that an image shows what it was made of; of those that read images even more, for a
# text is as long as 512 tokens, most of them padding. (Queries and keys are normalised, whatever their matrices.)
GAIN, READING_GAIN = 3.0, 8.0
READING = ("attn.to_v.weight", "attn.to_qkv_mlp_proj.weight")


def make_flux2(folder: Path) -> None:
    """Write a Flux 2 Klein of about 150 thousand weights into `folder`."""
    from diffusers import Flux2KleinPipeline

    Flux2KleinPipeline(text_encoder=_text_encoder(), **parts(folder)).save_pretrained(folder)


def parts(folder: Path, *, guidance_embeds: bool = False) -> dict[str, Any]:
    """The parts of a Flux 2 of either kind, without its text encoder. Its tokenizer is in `folder` already."""
    import torch
    from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel
    from transformers import PreTrainedTokenizerFast

    template = Path(__file__).with_name("chat_template.jinja").read_text()
    make_tokenizer(folder / "tokenizer", SPECIAL_TOKENS, [], template)
    torch.manual_seed(SEED)
    transformer = Flux2Transformer2DModel(
        in_channels=LATENT_CHANNELS * PATCH,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=sum(ROPE),
        num_attention_heads=2,
        joint_attention_dim=3 * TEXT_WIDTH,
        timestep_guidance_channels=32,
        axes_dims_rope=ROPE,
        guidance_embeds=guidance_embeds,
    )
    with torch.no_grad():
        for name, weights in transformer.named_parameters():
            if weights.ndim > 1:
                weights.mul_(GAIN * (READING_GAIN if name.endswith(READING) else 1))
    vae = AutoencoderKLFlux2(
        block_out_channels=(4, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=2,
        latent_channels=LATENT_CHANNELS,
        sample_size=SIDE,
    )
    return {
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        "vae": vae,
        "tokenizer": PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer"),
        "transformer": transformer,
    }


def _text_encoder() -> Any:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(SEED)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCAB_SIZE,
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            num_hidden_layers=TEXT_LAYERS,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            max_position_embeddings=CONTEXT_LENGTH,
            tie_word_embeddings=True,
        )
    )
