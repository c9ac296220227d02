"""How fast and how right the local image model is: python -m benchmarks.shapes

For numbers of steps and strengths of guidance: seconds for one picture alone, for one of a batch of four, and how many
of the held-out captions got what they ask for, measured as the tests do. Writes benchmarks/shapes.csv. Minutes on a
CPU.
"""

import csv
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from contract.options.catalog import ServedModel
from contract.options.diffusers import DiffusersOptions
from contract.project import PROJECT_FOLDER
from deployments.images.pipeline import DiffusionModel, Prompt, Shape
from local_models.shapes_measuring import found
from local_models.shapes_pictures import SIDE, combinations

CSV = Path(__file__).with_suffix(".csv")
SOURCE = str(PROJECT_FOLDER / "local_models" / "shapes")
WAYS = [(steps, 3.0) for steps in (4, 8, 12, 20, 30)] + [(12, 1.5), (12, 5.0)]
BATCH = 4
ALONE = 5  # pictures
COLUMNS = (
    "cores", "steps", "guidance", "seconds_alone", "seconds_in_a_batch_of_4", "captions", "right_percent",
    "colour_percent", "shape_percent", "background_percent",
)  # fmt: skip


def seconds(model: DiffusionModel, shape: Shape, prompts: list[Prompt]) -> tuple[float, list[Any]]:
    began = time.perf_counter()
    images = model.generate(shape, prompts, lambda _, __: None)
    return time.perf_counter() - began, images


def row(steps: int, guidance: float) -> dict[str, Any]:
    options = DiffusersOptions(device="cpu", steps=steps, guidance_scale=guidance)
    model = DiffusionModel(ServedModel("shapes", "diffusers", "images", SOURCE), options)
    model.try_out()
    shape = Shape(SIDE, SIDE, steps, negative=False)
    _, held_out = combinations()
    prompts = [
        Prompt(f"a {colour} {name} on a {background} background", "", seed)
        for seed, (colour, name, background) in enumerate(held_out)
    ]
    alone = [seconds(model, shape, [prompt])[0] for prompt in prompts[:ALONE]]
    batches = [seconds(model, shape, prompts[first : first + BATCH]) for first in range(0, len(prompts), BATCH)]
    results = [found(image) for _, images in batches for image in images]

    def percent(*names: str) -> float:
        right = sum(
            all(getattr(result, name) == getattr(asked, name) for name in names)
            for asked, result in zip(held_out, results, strict=True)
        )
        return round(100 * right / len(held_out), 1)

    return {
        "cores": torch.get_num_threads(),
        "steps": steps,
        "guidance": guidance,
        "seconds_alone": round(statistics.median(alone), 2),
        "seconds_in_a_batch_of_4": round(
            statistics.median(one for one, images in batches if len(images) == BATCH) / BATCH, 2
        ),
        "captions": len(held_out),
        "right_percent": percent("colour", "shape", "background"),
        "colour_percent": percent("colour"),
        "shape_percent": percent("shape"),
        "background_percent": percent("background"),
    }


def main() -> None:
    rows = []
    for way in WAYS:
        rows.append(row(*way))
        print(rows[-1], flush=True)
    with CSV.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
