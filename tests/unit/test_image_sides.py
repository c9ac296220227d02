"""The sides of an image that is made of another, where a client asks for none."""

import pytest
from PIL import Image

from deployments.images.editing import sides_like

NO_BOUND = 2048 * 2048


@pytest.mark.parametrize(
    ("size", "sides"),
    [((512, 512), (64, 64)), ((200, 100), (88, 64)), ((10_000, 10), (256, 64)), ((1, 5000), (64, 256))],
)
def test_sides_in_the_form_of_an_image_within_the_model_s(size: tuple[int, int], sides: tuple[int, int]) -> None:
    assert sides_like(Image.new("1", size), (64, 64), 8, (64, 256), NO_BOUND) == sides


@pytest.mark.parametrize(
    ("size", "most", "sides"),
    [
        ((100, 10_000), 512 * 512, (176, 1440)),
        ((10_000, 100), 512 * 512, (1440, 176)),
        ((100, 100), 256 * 256, (256, 256)),
        ((100, 100), 512 * 512, (512, 512)),
    ],
)
def test_where_both_are_too_many_pixels_together_smaller_ones_of_that_form(
    size: tuple[int, int], most: int, sides: tuple[int, int]
) -> None:
    assert sides_like(Image.new("1", size), (512, 512), 16, (256, 2048), most) == sides
