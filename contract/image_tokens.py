"""What images count as, for the gateway that reserves it and for the engine that reports it."""

SIDE = 16  # pixels; an image is a token for each square of this side


def image_tokens(width: int, height: int, images: int = 1) -> int:
    """The output tokens of `images` images of that many pixels."""
    return -(-width // SIDE) * -(-height // SIDE) * images
