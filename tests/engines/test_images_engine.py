"""POST /v1/images/generations on diffusers: one shape is one batch, unwanted work ends, a blocked image is a 400."""

import asyncio
import base64
import io
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image

from contract.protocol import IMAGES_ROUTE, ResponseHead, ResponseTail
from deployments.replica import Replica
from local_models import checker
from tests.engines.pipelines import MODELS, OPTIONS, ROUNDING
from tests.engines.replicas import items_of, started, until_replaced

BLOCKED = checker.PROMPT


async def replica(name: str = "pocket-image", **changes: Any) -> Replica:
    return await started("diffusers", "images", str(MODELS / name), OPTIONS | changes)


def engine_of(served: Replica) -> Any:
    return served.engine


def batches(served: Replica) -> Any:
    return engine_of(served)._batches


async def items(served: Replica, *, strict: bool = False, **parameters: Any) -> list[Any]:
    return await items_of(served, IMAGES_ROUTE, {"prompt": "a fox"} | parameters, strict=strict)


async def answer(served: Replica, **parameters: Any) -> dict[str, Any]:
    (head,) = await items(served, **parameters)
    assert head.error is None
    return dict(orjson.loads(head.body))


async def busy(served: Replica, steps: int = 3) -> asyncio.Task[Any]:
    """A request that is under way since `steps` steps, so that what comes next waits together."""
    before = batches(served).steps_done
    task = asyncio.create_task(items(served, quality="high"))
    while batches(served).steps_done < before + steps:
        await asyncio.sleep(0.01)
    return task


def pixels(b64_json: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(b64_json))), dtype=int)


async def test_requests_that_wait_together_are_one_batch() -> None:
    served = await replica(quality={"high": 50})
    alone = pixels((await answer(served, seed=3))["data"][0]["b64_json"])
    first = await busy(served)
    answers = await asyncio.gather(*(answer(served, seed=seed) for seed in range(8)))
    await first
    assert batches(served).begun == 2 + 2  # of four images each
    assert np.abs(pixels(answers[3]["data"][0]["b64_json"]) - alone).max() <= ROUNDING


async def test_other_shapes_wait_for_a_batch_of_their_own() -> None:
    served = await replica(quality={"high": 50})
    first = await busy(served)
    sizes = ["64x64", "64x96", "64x64", "64x96"]
    answers = await asyncio.gather(*(answer(served, size=size) for size in sizes))
    await first
    assert [one["portico"]["size"] for one in answers] == sizes
    assert [pixels(one["data"][0]["b64_json"]).shape[:2] for one in answers] == [(64, 64), (96, 64)] * 2
    assert batches(served).begun == 1 + 2


async def test_the_images_of_one_request_have_seeds_that_follow_each_other() -> None:
    served = await replica()
    several = (await answer(served, seed=10, n=3))["data"]
    (last,) = (await answer(served, seed=12))["data"]
    assert np.abs(pixels(several[2]["b64_json"]) - pixels(last["b64_json"])).max() <= ROUNDING


async def test_without_a_seed_every_image_is_another() -> None:
    served = await replica()
    one, other = [(await answer(served))["data"][0]["b64_json"] for _ in range(2)]
    assert one != other


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
async def test_files_are_of_the_kind_asked_for(kind: str) -> None:
    served = await replica()
    made = await answer(served, output_format=kind, seed=1)
    assert made["output_format"] == kind
    data = base64.b64decode(made["data"][0]["b64_json"])
    assert Image.open(io.BytesIO(data)).format == kind.upper()
    if kind != "png":
        small = await answer(served, output_format=kind, output_compression=5, seed=1)
        assert len(base64.b64decode(small["data"][0]["b64_json"])) < len(data) / 2


async def test_quality_is_steps() -> None:
    served = await replica(quality={"low": 2, "high": 6})
    for quality, steps in (("low", 2), ("high", 6), ("medium", 4)):
        before = batches(served).steps_done
        await answer(served, quality=quality)
        assert batches(served).steps_done - before == steps


async def test_a_client_that_leaves_frees_the_pipeline() -> None:
    served = await replica(quality={"high": 10_000})
    long = await busy(served)
    long.cancel()
    await asyncio.wait([long])
    done = batches(served).steps_done
    assert (await answer(served))["data"]
    assert batches(served).steps_done <= done + 2 + 4


async def test_for_a_client_that_leaves_while_it_waits_nothing_is_generated() -> None:
    served = await replica(quality={"high": 50})
    first = await busy(served)
    waiting = asyncio.create_task(items(served))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.wait([first, waiting])
    assert (batches(served).begun, batches(served).steps_done) == (1, 50)


async def test_a_client_that_leaves_does_not_take_the_others_of_its_batch_with_it() -> None:
    served = await replica(steps=60, quality={"high": 50})
    first = await busy(served)
    leaving, staying = (asyncio.create_task(items(served, seed=seed)) for seed in (1, 2))
    await first
    while batches(served).steps_done < 55:
        await asyncio.sleep(0.01)
    leaving.cancel()
    (head,) = await staying
    assert head.status == 200
    assert batches(served).steps_done == 50 + 60


async def test_a_prompt_that_is_too_long_is_refused_or_cut_as_the_entry_says() -> None:
    long = "fox " * 100
    (head,) = await items(await replica(), prompt=long)
    assert (head.status, head.error["code"], head.error["param"]) == (422, "context_length_exceeded", "prompt")
    cutting = await replica(long_prompts="truncate")
    (head,) = await items(cutting, prompt=long)
    assert (head.status, head.clamped) == (200, (("prompt", 302, 77),))
    (head,) = await items(cutting, prompt=long, strict=True)
    assert (head.status, head.error["param"]) == (400, "prompt")
    assert "`strict_params` is set, and `prompt` would become 77" in head.error["message"]
    (head,) = await items(cutting, negative_prompt=long)
    assert (head.status, head.clamped) == (200, (("negative_prompt", 302, 77),))


async def test_prompts_are_counted_while_the_pipeline_reads_others() -> None:
    served = await replica(max_batch_images=1)
    long = "a fox and a boat " * 4
    heads = await asyncio.gather(*(items(served, prompt=long[:end]) for end in range(10, 60)))
    assert {head.status for (head,) in heads} == {200}


async def test_a_stream_sends_the_image_as_it_becomes() -> None:
    served = await replica(steps=8)
    head, *events, tail = await items(served, stream=True, partial_images=3, seed=4)
    assert isinstance(head, ResponseHead)
    assert head.content_type == "text/event-stream"
    assert isinstance(tail, ResponseTail)
    assert tail.usage == {**orjson.loads(events[-1].partition(b"data: ")[2])["usage"]}
    images = [pixels(orjson.loads(event.partition(b"data: ")[2])["b64_json"]) for event in events]
    differences = [np.abs(image - images[-1]).mean() for image in images]
    assert differences == sorted(differences, reverse=True)
    assert len(set(differences)) == 4
    whole = (await answer(served, seed=4))["data"][0]["b64_json"]
    assert np.array_equal(images[-1], pixels(whole))


async def test_a_preview_that_cannot_be_made_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    served = await replica(steps=4)
    checked_images = batches(served)._checked
    faults: list[Exception] = [RuntimeError("out of memory")]
    monkeypatch.setattr(
        batches(served), "_checked", lambda images: checked_images(images) if not faults else raised(faults)
    )
    _, event, tail = await items(served, stream=True, partial_images=1)
    assert b"image_generation.completed" in event
    assert tail.error is None


def raised(faults: list[Exception]) -> Any:
    raise faults.pop()


async def test_an_engine_that_fails_its_trial_too_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    served = await replica()
    monkeypatch.setattr(engine_of(served)._model, "generate", lambda *_: raised([RuntimeError("the GPU is lost")]))
    (head,) = await items(served)
    assert (head.status, head.error["code"]) == (502, "upstream_error")
    await until_replaced(served)


async def checked() -> Replica:
    """With a checker that knows one picture, and blocks what is like it."""
    return await replica("pocket-flux", safety_checker=str(MODELS / "pocket-checker"))


async def test_a_blocked_picture_is_a_400() -> None:
    served = await checked()
    (head,) = await items(served, prompt=BLOCKED, seed=1)
    assert (head.status, head.error["code"], head.error["param"]) == (400, "content_policy_violation", "prompt")
    assert (await items(served, prompt=BLOCKED, seed=2))[0].status == 200


async def test_one_blocked_picture_blocks_its_request_and_no_other() -> None:
    served = await checked()
    both, other = await asyncio.gather(items(served, prompt=BLOCKED, seed=1, n=2), items(served, seed=5))
    assert (both[0].status, other[0].status) == (400, 200)


async def test_a_stream_ends_where_its_picture_is_blocked() -> None:
    served = await checked()
    (head,) = await items(served, prompt=BLOCKED, seed=1, stream=True)
    assert (head.status, head.error["code"]) == (400, "content_policy_violation")
    *before, last = await items(served, prompt=BLOCKED, seed=1, stream=True, partial_images=3)
    assert last.error["code"] == "content_policy_violation"
    assert not any(b"completed" in item for item in before if isinstance(item, bytes))
