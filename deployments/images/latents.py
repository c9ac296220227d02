"""How a pipeline's latents become images before it has finished: by its own VAE, after undoing how it packs them.

diffusers has no interface for this. Each family is recognised by its parts, and what is found is only believed after
it has given, in the first trial, the image that the pipeline itself makes of its last latents.
"""

from typing import Any


def decoded(pipe: Any, latents: Any, width: int, height: int) -> Any:
    """PIL images of the latents that a pipeline gives to `callback_on_step_end`."""
    vae = pipe.vae
    spread = _unpacked(pipe, latents, width, height).to(vae.dtype)
    images = vae.decode(_scaled_back(vae, spread), return_dict=False)[0]
    if images.ndim == 5:  # a VAE of videos: the only frame
        images = images[:, :, 0]
    return pipe.image_processor.postprocess(images, output_type="pil")


def _unpacked(pipe: Any, latents: Any, width: int, height: int) -> Any:
    """images x channels x height x width; Flux and its kin hand over rows of patches."""
    if latents.ndim != 3:
        return latents
    if hasattr(pipe, "_unpack_latents"):
        return pipe._unpack_latents(latents, height, width, pipe.vae_scale_factor)
    rows, columns = height // (pipe.vae_scale_factor * 2), width // (pipe.vae_scale_factor * 2)
    patches = latents.transpose(1, 2).unflatten(2, (rows, columns))
    return pipe._unpatchify_latents(_normalised_back(pipe.vae, patches))


def _normalised_back(vae: Any, patches: Any) -> Any:
    """Flux 2 keeps the latents' mean and variance as a batch norm over patches."""
    deviation = (vae.bn.running_var + vae.config.batch_norm_eps).sqrt()
    shape = (1, -1, 1, 1)
    return patches * deviation.view(shape).to(patches) + vae.bn.running_mean.view(shape).to(patches)


def _scaled_back(vae: Any, latents: Any) -> Any:
    config = vae.config
    mean, deviation = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    scale = getattr(config, "scaling_factor", None) or 1.0
    if mean is not None and deviation is not None:
        shape = (1, -1) + (1,) * (latents.ndim - 2)
        back = latents * latents.new_tensor(deviation).view(shape)
        return back / scale + latents.new_tensor(mean).view(shape)
    if hasattr(vae, "bn"):
        return latents
    return latents / scale + (getattr(config, "shift_factor", None) or 0.0)
