"""Sides of images that are made, for the gateway that is asked for some and the engine that sees an image."""

import math


def within_pixels(width: int, height: int, most: int, multiple: int) -> tuple[int, int]:
    """Sides in pixels; where both together are more than `most` pixels, smaller ones of that form.

    Smaller ones are multiples of `multiple`, at least one of it.
    """
    if width * height <= most:
        return width, height
    shrink = math.sqrt(most / (width * height))
    smaller_width, smaller_height = (
        max(multiple, int(side * shrink) // multiple * multiple) for side in (width, height)
    )
    return smaller_width, smaller_height
