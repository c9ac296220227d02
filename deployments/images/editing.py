"""Images that a request brings, as a pipeline takes them: decoded, oriented, cut to the size of the answer.

A pipeline that begins with an image is another class around the same loaded weights. One that looks at images begins
with noise, and makes one image of all of them.
"""

import io
import logging
import math
from typing import Any, Literal, NamedTuple

import pybase64

from contract.errors import ApiError
from contract.image_sides import within_pixels

logger = logging.getLogger("portico.images")

Beginning = Literal["noise", "image", "masked", "references"]
# Pipelines that look at a list of images, and at how many, as their makers recommend; below, what they accept as one.
REFERENCES = {"Flux2KleinPipeline": 4, "Flux2Pipeline": 6}
REFERENCE_SIDE = 64  # pixels, at least
REFERENCE_FORM = 8  # times the shorter side, at most
MAX_SCHEDULE = 1000  # steps that schedulers know
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
WHITE = (255, 255, 255)


class Given(NamedTuple):
    """What an image is made of, beside its prompt."""

    images: tuple[Any, ...]  # PIL, RGB: the only one, of the size of the answer, or references of any size
    mask: Any = None  # PIL, L, of the size of the answer: white is made anew

    def kept(self, made: Any) -> Any:
        """What was made of it, with its own pixels outside of the mask."""
        from PIL import Image

        return made if self.mask is None else Image.composite(made, self.images[0], self.mask)


def editing_pipelines(pipe: Any) -> dict[Beginning, Any]:
    """The pipelines of `pipe`'s own parts that begin with an image, as far as its family has any."""
    from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting

    kinds: dict[Beginning, Any] = {"image": AutoPipelineForImage2Image, "masked": AutoPipelineForInpainting}
    found: dict[Beginning, Any] = {}
    for beginning, kind in kinds.items():
        try:
            found[beginning] = kind.from_pipe(pipe)
        except Exception as error:  # the library says in several kinds that there is none
            logger.debug("no pipeline of %s begins so (%s): %s", type(pipe).__name__, beginning, error)
            continue
        found[beginning].set_progress_bar_config(disable=True)
    if most_references(found.get("image")):
        found["references"] = found.pop("image")
    return found


def most_references(pipe: Any) -> int:
    """At how many images a pipeline looks; 0 where it begins with an image, or knows none."""
    return REFERENCES.get(type(pipe).__name__, 0)


def opened(url: str, place: str) -> Any:
    """The first picture of an image in a data URL, turned as its camera says: PIL, RGB or RGBA. Blocks.

    Raises ApiError `invalid_image`.
    """
    from PIL import Image, ImageOps

    try:
        content = pybase64.b64decode(url.partition(",")[2], validate=True)
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.seek(0)
            turned = ImageOps.exif_transpose(image)
            return turned.convert("RGBA" if turned.has_transparency_data else "RGB")
    except Exception:  # a decoder may raise anything at bad bytes
        raise ApiError("invalid_image", f"The image in `{place}` cannot be decoded.", param=place) from None


def given(image: Any, mask: Any, sides: tuple[int, int]) -> Given:
    """An image and its mask, cut to `sides` around the centre. Raises ApiError where the mask does not fit. Blocks."""
    from PIL import Image, ImageOps

    fitted = ImageOps.fit(_opaque(image), sides, Image.Resampling.LANCZOS)
    if mask is None:
        return Given((fitted,))
    if mask.size != image.size:
        theirs, ours = ("x".join(map(str, one.size)) for one in (mask, image))
        message = f"`mask` is {theirs} and the image is {ours} pixels. Send a mask of the image's size."
        raise ApiError("invalid_image", message, param="mask")
    if mask.mode != "RGBA":
        message = "`mask` has no transparent pixels. Those are made anew, so send a PNG or a WebP that has some."
        raise ApiError("invalid_image", message, param="mask")
    made_anew = mask.getchannel("A").point(lambda alpha: 255 if alpha == 0 else 0)
    return Given((fitted,), ImageOps.fit(made_anew, sides, Image.Resampling.NEAREST))


def reference(image: Any, usual: tuple[int, int], multiple: int) -> Any:
    """An image to look at: in its own form, with the ends of a long one cut off, and in no more pixels than `usual`.

    One that the pipeline would find too small is larger. Blocks.
    """
    from PIL import Image, ImageOps

    shrink = min(1.0, math.sqrt(usual[0] * usual[1] / (image.width * image.height)))
    scale = max(shrink, REFERENCE_SIDE / min(image.size))
    least = -(-REFERENCE_SIDE // multiple) * multiple
    width, height = (max(round(side * scale / multiple) * multiple, least) for side in image.size)
    sides = min(width, REFERENCE_FORM * height), min(height, REFERENCE_FORM * width)
    return ImageOps.fit(_opaque(image), sides, Image.Resampling.LANCZOS)


def sides_like(
    image: Any, usual: tuple[int, int], multiple: int, bounds: tuple[int, int], max_pixels: int
) -> tuple[int, int]:
    """Width and height in the form of `image`, of about as many pixels as `usual`, each within `bounds`.

    Where both together are more than `max_pixels`, they are smaller.
    """
    scale = math.sqrt(usual[0] * usual[1] / (image.width * image.height))
    lowest, highest = -(-bounds[0] // multiple) * multiple, bounds[1] // multiple * multiple
    width, height = (
        min(max(round(side * scale / multiple) * multiple, lowest), highest) for side in (image.width, image.height)
    )
    return within_pixels(width, height, max_pixels, multiple)


def schedule(steps: int, strength: float) -> tuple[int, float]:
    """A number of steps, and the strength up to `strength` with which pipelines take exactly `steps` of them.

    They leave out the first ones; how many, some round up and some down, so that the product must be whole.
    """
    nearest = max(steps, min(math.ceil(steps / strength - 1e-9), MAX_SCHEDULE))
    candidates = (*range(nearest, MAX_SCHEDULE + 1), *range(nearest, steps - 1, -1))
    whole = next(one for one in candidates if one * (steps / one) == steps)
    return whole, steps / whole


def _opaque(image: Any) -> Any:
    """RGB, on white."""
    from PIL import Image

    if image.mode != "RGBA":
        return image
    ground = Image.new("RGB", image.size, WHITE)
    ground.paste(image, mask=image.getchannel("A"))
    return ground
