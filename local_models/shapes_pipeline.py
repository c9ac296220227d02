"""The parts of `shapes`, untrained: a Stable Diffusion of about five million weights, as diffusers knows them."""

from typing import Any

from local_models.shapes_pictures import SIDE, SYNONYMS, WORDS

SPECIALS = ("<pad>", "<start>", "<end>", "<unknown>")
TOKENS = 16  # of a caption, with its start and its end
TEXT_WIDTH = 128
LATENT_CHANNELS = 4
SCALE = 16  # pixels of a latent's side


def make_tokenizer() -> Any:
    """Whole words: a synonym becomes the word that the model knows, and a word that it does not know is dropped."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {word: index for index, word in enumerate((*SPECIALS, *WORDS))}
    known = "|".join(WORDS)
    words = Tokenizer(models.WordLevel(ids, unk_token="<unknown>"))
    words.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex("[^a-z]+"), " "),
            *(normalizers.Replace(Regex(rf"\b(?:{'|'.join(said)})\b"), word) for word, said in SYNONYMS.items()),
            normalizers.Replace(Regex(rf"\b(?!(?:{known})\b)[a-z]+\b"), " "),
        ]
    )
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[(name, ids[name]) for name in ("<start>", "<end>")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        bos_token="<start>",
        eos_token="<end>",
        unk_token="<unknown>",
        model_max_length=TOKENS,
    )


def make_text_encoder(tokenizer: Any) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            projection_dim=TEXT_WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def make_unet() -> Any:
    """It reads the caption twice: as a whole beside the time step, and word by word where the latents are coarse."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=SIDE // SCALE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(32, 64, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )


def make_vae() -> Any:
    """The decoder works at the pictures' own size, so it is narrow."""
    from diffusers import AutoencoderTiny

    return AutoencoderTiny(
        encoder_block_out_channels=(24,) * 5,
        decoder_block_out_channels=(24,) * 5,
        num_encoder_blocks=(0, 0, 1, 1, 2),
        num_decoder_blocks=(3, 2, 2, 1, 0),
        latent_channels=LATENT_CHANNELS,
    )


def make_scheduler() -> Any:
    """Half of its steps are so noisy that only the caption says what will be there: on a large plain area, signal shows
    early. The last time step is pure noise, so that such areas get the right colour.
    """
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.035,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=0,
    )
