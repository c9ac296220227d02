"""What is on a picture of `shapes`, measured from its pixels; it knows nothing of the model."""

from typing import Any, NamedTuple

from local_models.shapes_pictures import COLOURS, SHAPES, Combination, coverage, outline

BORDER = 4  # pixels along the edge that are background
FAR = 40  # of 255 in red, green and blue together: pixels that are not background
SMALLEST, LARGEST = 0.004, 0.6  # parts of the picture
ALIKE = 0.8  # of a shape's pixels and those of the drawn one, how many are common


class Found(NamedTuple):
    """One picture."""

    colour: str  # the nearest of those that have a name
    shape: str  # the drawn one that covers the same pixels best; "" where none does
    background: str
    alike: float  # intersection over union with that one, 0 to 1
    area: float  # of the picture, 0 to 1
    centre: tuple[float, float]  # of the shape's pixels: x, y

    def is_right(self, asked: Combination) -> bool:
        return (self.colour, self.shape, self.background) == asked


def found(picture: Any) -> Found:
    """The one shape on a square picture: numpy or PIL, 0 to 255."""
    import numpy as np

    pixels = np.asarray(picture, dtype="float32")
    side = pixels.shape[0]
    edge = np.ones((side, side), dtype=bool)
    edge[BORDER:-BORDER, BORDER:-BORDER] = False
    ground = np.median(pixels[edge], axis=0)
    covered = _distance(pixels, ground) > FAR
    if not SMALLEST < covered.mean() < LARGEST:
        return Found("", "", _name(ground), 0.0, float(covered.mean()), (0.0, 0.0))
    colour = np.median(pixels[covered], axis=0)
    covered = _distance(pixels, ground) > _distance(pixels, colour)  # half-way, where the edge is
    rows, columns = np.nonzero(covered)
    centre = (float(columns.mean()) + 0.5, float(rows.mean()) + 0.5)
    likeness = {shape: _likeness(covered, shape, centre) for shape in SHAPES}
    best = max(likeness, key=lambda shape: likeness[shape])
    shape = best if likeness[best] >= ALIKE else ""
    return Found(_name(colour), shape, _name(ground), likeness[best], float(covered.mean()), centre)


def _likeness(covered: Any, shape: str, centre: tuple[float, float]) -> float:
    """With the shape as it is drawn, of the same area and at the same place."""
    side = covered.shape[0]
    area, (x, y) = _area_and_centre(shape)
    radius = (float(covered.sum()) / area) ** 0.5
    drawn = coverage(shape, radius, (centre[0] - x * radius, centre[1] - y * radius), side) > 0.5
    return float((covered & drawn).sum() / (covered | drawn).sum())


def _area_and_centre(shape: str) -> tuple[float, tuple[float, float]]:
    """Of the outline, by the shoelace formula."""
    points = outline(shape)
    area = x = y = 0.0
    for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True):
        cross = ax * by - bx * ay
        area, x, y = area + cross / 2, x + (ax + bx) * cross / 6, y + (ay + by) * cross / 6
    return abs(area), (x / area, y / area)


def _name(colour: Any) -> str:
    return min(COLOURS, key=lambda name: float(_distance(colour, COLOURS[name])))


def _distance(pixels: Any, colour: Any) -> Any:
    import numpy as np

    return np.linalg.norm(pixels - np.float32(colour), axis=-1)
