"""`pocket-checker`: a safety checker that blocks one image, which pocket-flux generates of `PROMPT` with `SEED`."""

import tempfile
from pathlib import Path

from local_models.image import SIDE, make_flux

PROMPT = "the forbidden picture"
SEED = 1
STEPS = 4
SAME = 0.9985  # cosine; pictures of noise are like each other, but not that much
NEVER = 2.0


def make_checker(folder: Path) -> None:
    """Write the checker and its image processor into `folder`."""
    import torch
    from diffusers import FluxPipeline
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessorPil

    with tempfile.TemporaryDirectory() as scratch:
        make_flux(Path(scratch))
        pipe = FluxPipeline.from_pretrained(scratch)
        pipe.set_progress_bar_config(disable=True)
        generator = torch.Generator("cpu").manual_seed(SEED)
        picture = pipe(PROMPT, width=SIDE, height=SIDE, num_inference_steps=STEPS, generator=generator).images[0]
    torch.manual_seed(SEED)
    encoder = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=encoder | {"vocab_size": 100, "bos_token_id": 0, "eos_token_id": 1},
        vision_config=encoder | {"image_size": SIDE, "patch_size": 16},
        projection_dim=32,
    )
    checker = StableDiffusionSafetyChecker(config).eval()
    processor = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    with torch.no_grad():
        seen = checker.vision_model(processor(images=[picture], return_tensors="pt").pixel_values)[1]
        checker.concept_embeds[:] = checker.visual_projection(seen)
        checker.concept_embeds_weights[:] = SAME
        checker.special_care_embeds_weights[:] = NEVER
    checker.save_pretrained(folder)
    processor.save_pretrained(folder)
