"""`pocket-image` and `pocket-flux`: a Stable Diffusion and a Flux of random weights: noise, 64 pixels a side.

The same prompt and seed give the same image.
"""

from pathlib import Path
from typing import Any, NamedTuple

from local_models.chat import CORPUS, SEED

SIDE = 64
CLIP_TOKENS = 77
T5_TOKENS = 128


class FluxSize(NamedTuple):
    """How large a Flux is; the defaults are those of pocket-flux, of some hundred thousand weights."""

    layers: int = 1  # of two streams
    single_layers: int = 1  # of one stream
    heads: int = 2
    rope: tuple[int, int, int] = (4, 4, 8)  # together the width of a head
    text_width: int = 32
    vae_channels: tuple[int, ...] = (4, 8, 8, 8)
    vae_norm_groups: int = 2


CLIP_SPECIALS = ["<|startoftext|>", "<|endoftext|>"]


def make_stable_diffusion(folder: Path) -> None:
    """Write a Stable Diffusion 1 of about 80 thousand weights into `folder`."""
    import torch
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(SEED)
    tokenizer = _clip_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=SIDE // 2,
        in_channels=4,
        out_channels=4,
        block_out_channels=(4, 8),
        layers_per_block=1,
        norm_num_groups=2,
        cross_attention_dim=32,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    vae = AutoencoderKL(
        block_out_channels=(4, 8),
        norm_num_groups=2,
        latent_channels=4,
        sample_size=SIDE,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )
    scheduler = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=_clip_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def make_flux(folder: Path, size: FluxSize = FluxSize()) -> None:  # noqa: B008 - it never changes
    """Write a Flux into `folder`; its weights are of torch's default type, on torch's default device."""
    import torch
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(SEED)
    tokenizer, words = _clip_tokenizer(), _t5_tokenizer()
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=size.layers,
        num_single_layers=size.single_layers,
        attention_head_dim=sum(size.rope),
        num_attention_heads=size.heads,
        joint_attention_dim=size.text_width,
        pooled_projection_dim=32,
        axes_dims_rope=size.rope,
        guidance_embeds=False,
    )
    vae = AutoencoderKL(
        block_out_channels=size.vae_channels,
        norm_num_groups=size.vae_norm_groups,
        latent_channels=4,
        sample_size=SIDE,
        scaling_factor=1.5,
        shift_factor=0.06,
        use_quant_conv=False,
        use_post_quant_conv=False,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    t5 = T5Config(
        vocab_size=len(words),
        d_model=size.text_width,
        d_ff=2 * size.text_width,
        d_kv=8,
        num_heads=4,
        num_layers=2,
        feed_forward_proj="gated-gelu",
    )
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae,
        text_encoder=_clip_text_encoder(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel(t5),
        tokenizer_2=words,
        transformer=transformer,
    ).save_pretrained(folder)


def _clip_tokenizer() -> Any:
    """A byte-level BPE in CLIP's form, without merges: every word is spelled."""
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    spelled = [*letters, *(f"{letter}</w>" for letter in letters), *CLIP_SPECIALS]
    return CLIPTokenizer({token: index for index, token in enumerate(spelled)}, [], model_max_length=CLIP_TOKENS)


def _t5_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    unigram = Tokenizer(models.Unigram())
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.decoder = decoders.Metaspace()
    specials = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=specials, unk_token="<unk>", show_progress=False)
    unigram.train_from_iterator(CORPUS, trainer)
    unigram.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=unigram, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=T5_TOKENS
    )


def _clip_text_encoder(tokenizer: Any) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=37,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=CLIP_TOKENS,
            projection_dim=32,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
