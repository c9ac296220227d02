"""Train `shapes` on pictures that are drawn here, into local_models/shapes: python -m local_models.train_shapes FOLDER

In order: the autoencoder; the denoiser and the text encoder, on the latents of 6,000 pictures; the autoencoder's
decoder alone, for sharper edges. FOLDER keeps what is reached, and the same command goes on from there: a part that is
complete there is read from it.
"""

import os
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the two halves of a batch are the two threads

import numpy as np
import torch
from torch.nn import functional

from local_models import shapes_pictures as pictures
from local_models.shapes_pipeline import (
    SCALE,
    make_scheduler,
    make_text_encoder,
    make_tokenizer,
    make_unet,
    make_vae,
)

SEED = 1
TARGET = Path(__file__).parent / "shapes"
PICTURES = 6_000
KEEP_EVERY = 50  # steps
LATENT_NOISE = 0.04  # what the decoder must bear
CROP = 96  # pixels: a batch of the autoencoder's
COLOUR_CHANNELS = 3  # of the latents, the mean colour of each one's pixels; the others are the network's own
FREE_DEVIATION = 0.7  # of those others, near that of the colours
VAE_BATCH, UNET_BATCH = 12, 24
NO_CAPTION = 0.1  # of the captions, for guidance

Loss = Callable[[int, int], torch.Tensor]  # (step, which half of the batch) -> a number


class Plan(NamedTuple):
    """How a part of the model is trained."""

    name: str  # of its file in the folder
    steps: int
    rate: float  # of learning
    decay: float  # of the weights' moving average, a step


VAE = Plan("vae", steps=680, rate=2e-3, decay=0.98)
UNET = Plan("unet", steps=9_000, rate=1e-3, decay=0.998)
DECODER = Plan("decoder", steps=1_600, rate=1e-3, decay=0.98)


def train(folder: Path, plan: Plan, parts: list[Any], loss: Loss) -> None:
    """Train the parts together, from the last kept state on, and leave their weights' moving average in them."""
    weights = [one for part in parts for one in part.parameters() if one.requires_grad]
    average = [one.detach().clone() for one in weights]
    optimizer = torch.optim.AdamW(weights, lr=plan.rate, weight_decay=0.01, betas=(0.9, 0.98))
    state, first = folder / f"{plan.name}.pt", 0
    if state.exists():
        kept = torch.load(state, weights_only=True)
        first = kept["step"]
        optimizer.load_state_dict(kept["optimizer"])
        with torch.no_grad():
            for own, one in zip([*weights, *average], [*kept["weights"], *kept["average"]], strict=True):
                own.copy_(one)

    def gradients(half: int) -> tuple[float, tuple[torch.Tensor, ...]]:
        value = loss(step, half)
        return float(value.detach()), torch.autograd.grad(value, weights)

    began, seen = time.process_time(), []
    with ThreadPoolExecutor(2) as halves:
        for step in range(first, plan.steps):
            # Constant, so that a longer run begins as a shorter one does; the last fifth settles.
            optimizer.param_groups[0]["lr"] = plan.rate * min(
                1.0, (step + 1) / 100, 5 * (plan.steps - step) / plan.steps
            )
            (one, left), (other, right) = halves.map(gradients, (0, 1))
            for weight, here, there in zip(weights, left, right, strict=True):
                weight.grad = (here + there) / 2
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            with torch.no_grad():
                keep = min(plan.decay, (step + 1) / (step + 10))
                for mean, weight in zip(average, weights, strict=True):
                    mean.lerp_(weight, 1 - keep)
            seen.append((one + other) / 2)
            if (step + 1) % KEEP_EVERY == 0 or step + 1 == plan.steps:
                reached = {
                    "step": step + 1,
                    "optimizer": optimizer.state_dict(),
                    "weights": weights,
                    "average": average,
                }
                torch.save(reached, state.with_suffix(".new"))
                state.with_suffix(".new").replace(state)
                core = time.process_time() - began
                print(
                    f"{plan.name} {step + 1}/{plan.steps} loss {np.mean(seen[-KEEP_EVERY:]):.5f} core s {core:.0f}",
                    flush=True,
                )
    with torch.no_grad():
        for weight, mean in zip(weights, average, strict=True):
            weight.copy_(mean)


def as_pixels(images: Any) -> torch.Tensor:
    """images x 3 x height x width, -1 to 1."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).div(127.5).sub(1)


def crops(step: int, half: int, count: int, combinations: list[pictures.Combination]) -> torch.Tensor:
    """Parts of pictures around the edge of the shape, some in colours that have no name."""
    chance = random.Random(f"{SEED} {step} {half}")  # noqa: S311
    made = []
    for _ in range(count):
        scene = pictures.scene(chance.choice(combinations), chance)
        x, y = (
            min(max(int(at + chance.uniform(-1.1, 1.1) * scene.radius - CROP / 2), 0), pictures.SIDE - CROP)
            for at in scene.centre
        )
        if chance.random() < 0.75:
            made.append(pictures.drawn(scene, (x, y, CROP)))
            continue
        covered = pictures.coverage(scene.shape, scene.radius, (scene.centre[0] - x, scene.centre[1] - y), CROP)
        made.append(pictures.painted(covered, *([chance.uniform(0, 255) for _ in range(3)] for _ in range(2))))
    return as_pixels(made).contiguous(memory_format=torch.channels_last)


def train_vae(folder: Path, plan: Plan, vae: Any, encoder_too: bool) -> None:
    """The whole autoencoder, or its decoder alone for the latents as they are."""
    combinations, _ = pictures.combinations()

    def loss(step: int, half: int) -> torch.Tensor:
        pixels = crops(step, half, VAE_BATCH // 2, combinations)
        with torch.set_grad_enabled(encoder_too):
            latents = vae.encode(pixels).latents
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(2 * step + half))
        again = vae.decode(latents + LATENT_NOISE * noise).sample
        value = functional.l1_loss(again, pixels)
        if encoder_too:
            colours, free = latents.split([COLOUR_CHANNELS, latents.shape[1] - COLOUR_CHANNELS], dim=1)
            value = value + functional.mse_loss(colours, functional.avg_pool2d(pixels, SCALE))
            value = value + 0.1 * (free.mean().square() + (free.std() - FREE_DEVIATION).square())
        return value

    train(folder, plan, [vae if encoder_too else vae.decoder], loss)


def latents_of(folder: Path, vae: Any, scenes: list[pictures.Scene]) -> torch.Tensor:
    """pictures x channels x 16 x 16, as the encoder gives them."""
    file = folder / "latents.pt"

    def encode(batch: list[pictures.Scene]) -> torch.Tensor:
        with torch.no_grad():
            pixels = as_pixels([pictures.drawn(scene) for scene in batch])
            return vae.encode(pixels.contiguous(memory_format=torch.channels_last)).latents.contiguous()

    if not file.exists():
        batches = [scenes[start : start + 16] for start in range(0, len(scenes), 16)]
        with ThreadPoolExecutor(2) as pool:
            torch.save(torch.cat(list(pool.map(encode, batches))), file)
    return torch.load(file, weights_only=True)


def train_unet(folder: Path, latents: torch.Tensor, scenes: list[pictures.Scene], text_encoder: Any, unet: Any) -> None:
    """The denoiser and the text encoder, on latents of unit deviation."""
    tokenizer, scheduler = make_tokenizer(), make_scheduler()

    def loss(step: int, half: int) -> torch.Tensor:
        chance = random.Random(f"{SEED} {step} {half}")  # noqa: S311
        random_numbers = torch.Generator().manual_seed(2 * step + half)
        chosen = [chance.randrange(len(scenes)) for _ in range(UNET_BATCH // 2)]
        texts = ["" if chance.random() < NO_CAPTION else pictures.caption(scenes[one], chance) for one in chosen]
        ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        clean = latents[chosen]
        noise = torch.randn(clean.shape, generator=random_numbers)
        times = torch.randint(0, scheduler.config.num_train_timesteps, (len(chosen),), generator=random_numbers)
        noisy = scheduler.add_noise(clean, noise, times).contiguous(memory_format=torch.channels_last)
        made = unet(noisy, times, encoder_hidden_states=text_encoder(ids)[0]).sample
        return functional.mse_loss(made, scheduler.get_velocity(clean, noise, times))

    train(folder, UNET, [text_encoder, unet], loss)


def export(vae: Any, text_encoder: Any, unet: Any, target: Path) -> None:
    """The pipeline as diffusers loads it, in float16."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline(
        vae=vae,
        tokenizer=make_tokenizer(),
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        text_encoder=text_encoder,
        unet=unet,
    )
    for part in (vae, unet):
        part.to(memory_format=torch.contiguous_format)
    pipeline.to(dtype=torch.float16).save_pretrained(target)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    vae, text_encoder, unet = make_vae(), make_text_encoder(make_tokenizer()), make_unet()
    for part in (vae, unet):
        part.to(memory_format=torch.channels_last)
    train_vae(folder, VAE, vae, encoder_too=True)
    chance = random.Random(SEED)  # noqa: S311
    combinations, _ = pictures.combinations()
    scenes = [pictures.scene(chance.choice(combinations), chance) for _ in range(PICTURES)]
    latents = latents_of(folder, vae, scenes)
    scale = 1 / float(latents.std())
    train_unet(folder, latents * scale, scenes, text_encoder, unet)
    train_vae(folder, DECODER, vae, encoder_too=False)
    vae.register_to_config(scaling_factor=scale)
    export(vae, text_encoder, unet, TARGET)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
