"""Images by URL: kept, signed, expired, swept."""

import base64
import errno
import os
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.config.limits import KeptImages
from app.config.service import parse_config
from app.gateway.image_store import ImageStore
from contract.errors import ApiError
from contract.fields import ConfigError
from tests.unit.conftest import config_args

PICTURE = b"\x89PNG a picture"
IMAGE_ENTRY = {"id": "painter", "task": "images", "engine": "diffusers", "source": "./painter"}


def answer(count: int = 1, kind: str = "png") -> bytes:
    data = [{"b64_json": base64.b64encode(PICTURE).decode()} for _ in range(count)]
    return orjson.dumps({"created": 1, "data": data, "output_format": kind})


def store(folder: Path, **changes: Any) -> ImageStore:
    return ImageStore(KeptImages(location=str(folder), **changes))


async def published(images: ImageStore, count: int = 1) -> list[str]:
    content = orjson.loads(await images.publish(answer(count), "127.0.0.1:8000"))
    assert all(set(item) == {"url"} for item in content["data"])
    return [item["url"] for item in content["data"]]


def name_of(url: str) -> str:
    return url.removeprefix("http://127.0.0.1:8000/images/")


async def refused(images: ImageStore, name: str) -> None:
    with pytest.raises(ApiError) as caught:
        await images.read(name)
    assert (caught.value.status, caught.value.code) == (404, "unknown_url")


async def test_an_image_is_shown_at_its_url(tmp_path: Path) -> None:
    images = store(tmp_path)
    urls = await published(images, 2)
    assert len(set(urls)) == 2
    kept = await images.read(name_of(urls[0]))
    assert (kept.content, kept.content_type) == (PICTURE, "image/png")
    assert 3590 < kept.seconds_left <= 3600


async def test_where_no_image_can_be_kept_the_client_learns_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path))

    images = store(tmp_path)
    monkeypatch.setattr("app.owner_only.write", full)
    with pytest.raises(ApiError, match="b64_json") as caught:
        await published(images)
    assert (caught.value.status, caught.value.code, caught.value.retry_after) == (503, "overloaded", 60)
    assert str(tmp_path) not in caught.value.message
    monkeypatch.undo()
    assert len(await published(images)) == 1


async def test_no_character_of_the_url_can_be_changed(tmp_path: Path) -> None:
    images = store(tmp_path)
    (url,) = await published(images)
    name = name_of(url)
    for index, character in enumerate(name):
        other = "1" if character != "1" else "2"
        await refused(images, name[:index] + other + name[index + 1 :])


@pytest.mark.parametrize("name", ["", "signing-secret", "../signing-secret", "1-2-3.png", "x" * 10_000])
async def test_what_was_never_signed_is_not_there(tmp_path: Path, name: str) -> None:
    images = store(tmp_path)
    await published(images)
    await refused(images, name)


async def test_an_image_is_gone_after_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = store(tmp_path, lifetime_s=60)
    (url,) = await published(images)
    assert images.sweep(time.time() + 50) == 0
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    await refused(images, name_of(url))  # though its file is still there
    assert images.sweep(later) == 1
    assert os.listdir(tmp_path) == ["signing-secret"]


async def test_what_another_replica_has_swept_stops_no_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = store(tmp_path)
    await published(images, 3)
    remove = images._system.rm_file
    removed: list[str] = []

    def remove_after_somebody_else(path: str) -> None:
        if not removed:
            remove(path)
        removed.append(path)
        remove(path)

    monkeypatch.setattr(images._system, "rm_file", remove_after_somebody_else)
    images.sweep(time.time() + 4000)
    assert os.listdir(tmp_path) == ["signing-secret"]


async def test_an_image_whose_file_is_lost_is_not_there(tmp_path: Path) -> None:
    images = store(tmp_path)
    (url,) = await published(images)
    assert images.sweep(time.time() + 4000) == 1
    await refused(images, name_of(url))


async def test_urls_survive_a_restart(tmp_path: Path) -> None:
    (url,) = await published(store(tmp_path))
    assert (await store(tmp_path).read(name_of(url))).content == PICTURE


async def test_a_secret_of_the_operator_s_signs(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 32)
    (url,) = await published(store(tmp_path / "one", secret_file=str(secret)))
    await refused(store(tmp_path / "one"), name_of(url))  # signs with another
    assert await store(tmp_path / "one", secret_file=str(secret)).read(name_of(url))
    secret.write_bytes(b"short")
    with pytest.raises(ValueError, match="fewer than 32 bytes"):
        store(tmp_path / "one", secret_file=str(secret))


async def test_any_place_that_fsspec_knows(tmp_path: Path) -> None:
    images = ImageStore(KeptImages(location=f"memory://{tmp_path.name}"))
    (url,) = await published(images)
    assert (await images.read(name_of(url))).content == PICTURE


async def test_urls_begin_as_the_operator_says(tmp_path: Path) -> None:
    images = store(tmp_path, public_url="https://ai.example.com/")
    content = orjson.loads(await images.publish(answer(), "other:1"))
    assert content["data"][0]["url"].startswith("https://ai.example.com/images/")


@pytest.mark.parametrize("host", [None, "", "a b", "evil.example/path", 'x"><script>', "a" * 300])
async def test_a_host_that_is_none_makes_no_url(tmp_path: Path, host: str | None) -> None:
    with pytest.raises(ApiError, match="Host"):
        await store(tmp_path).publish(answer(), host)


def test_several_ingress_replicas_need_a_place_that_all_can_read() -> None:
    args = config_args(models=[IMAGE_ENTRY], ingress={"replicas": 2}, keys=[{"id": "a" * 12, "sha256": "0" * 64}])
    with pytest.raises(ConfigError, match="kept_images: several ingress replicas"):
        parse_config(args)
    parse_config(args | {"kept_images": {"location": "s3://bucket/images", "secret_file": "/etc/portico/secret"}})
