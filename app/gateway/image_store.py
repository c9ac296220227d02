"""Images that clients requested by URL: kept for a while, behind names that only this service can sign."""

import asyncio
import hmac
import logging
import re
import secrets
import time
import uuid
from contextlib import suppress
from typing import Any, NamedTuple

import fsspec
import orjson
import pybase64

from app import owner_only
from app.background.thread_calls import ThreadCalls
from app.config.limits import KeptImages
from app.endpoints.routes import KEPT_IMAGE_PREFIX
from contract.errors import ApiError
from contract.private_folder import private_folder

logger = logging.getLogger("portico.images")

FILE = re.compile(r"(?P<expires>\d{10,12})-[0-9a-f]{32}\.(?P<kind>png|jpeg|webp)")
SIGNED = re.compile(r"(?P<stem>\d{10,12}-[0-9a-f]{32})-(?P<signature>[0-9a-f]{64})\.(?P<kind>png|jpeg|webp)")
HOST = re.compile(r"[A-Za-z0-9.\-_]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")
SECRET_NAME = "signing-secret"  # noqa: S105 - the name of the file
SECRET_BYTES = 32
SWEEP_S = 60
CALL_SECONDS = 60.0  # for the location to take the images of a request, or to give one
SWEEP_SECONDS = 600.0  # for all that have expired
CALLS_AT_ONCE = 16


class KeptImage(NamedTuple):
    """An image as it was kept."""

    content: bytes
    content_type: str
    seconds_left: int


class ImageStore:
    """The kept images of one configuration. The location may be any that fsspec knows."""

    def __init__(self, config: KeptImages) -> None:
        """Open the location and read or make the secret. Blocks."""
        self._calls = ThreadCalls("the store of images", CALL_SECONDS, CALLS_AT_ONCE)
        self._sweeps = ThreadCalls("the sweep of expired images", SWEEP_SECONDS)
        self._lifetime_s = config.lifetime_s
        self._public_url = config.public_url
        location = config.location or private_folder(private_folder(), "images")
        self._system, self._folder = fsspec.url_to_fs(location)
        owner_only.make_folder(self._system, self._folder)
        secret_path = config.secret_path()
        self._secret = secret_path.read_bytes() if secret_path else self._own_secret()
        if len(self._secret) < SECRET_BYTES:
            raise ValueError(f"the secret that signs the URLs of images has fewer than {SECRET_BYTES} bytes")

    async def publish(self, answer: bytes, host: str | None) -> bytes:
        """An engine's answer with `url` instead of `b64_json`; `host` is the one that the client addressed.

        Raises ApiError `overloaded` where the location does not take the images.
        """
        origin = self.origin(host)
        try:
            return await self._calls.call(self._publish, answer, origin)
        except OSError as error:  # a full disk, a place that is not there, one that does not answer in time
            logger.warning("images cannot be kept for their URLs: %s", error)
            raise _cannot_keep() from None

    def origin(self, host: str | None) -> str:
        """What URLs begin with, for a client that addressed `host`. Raises ApiError where that is none."""
        if self._public_url is not None:
            return self._public_url
        if host is None or not HOST.fullmatch(host):
            raise ApiError("invalid_value", "The header Host must name the host, or URLs cannot be made.")
        return f"http://{host}"

    async def read(self, name: str) -> KeptImage:
        """The image of a signed name. Raises ApiError where that is altered or expired, or the image is gone."""
        found = SIGNED.fullmatch(name)
        if found is None or not hmac.compare_digest(self._signature(found["stem"], found["kind"]), found["signature"]):
            raise _absent()
        left = int(found["stem"].partition("-")[0]) - time.time()
        if left <= 0:
            raise _absent()
        try:
            content = await self._calls.call(self._system.cat_file, self._path(f"{found['stem']}.{found['kind']}"))
        except FileNotFoundError:
            raise _absent() from None
        return KeptImage(content, f"image/{found['kind']}", int(left))

    async def keep_swept(self) -> None:
        """Remove expired images for as long as this process lives."""
        while True:
            await self._sweeps.call(self.sweep, time.time())
            await asyncio.sleep(SWEEP_S)

    def sweep(self, now: float) -> int:
        """Remove what had expired at `now`, Unix seconds. Returns how many. Blocks."""
        self._system.invalidate_cache()
        names = (path.rpartition("/")[2] for path in self._system.ls(self._folder, detail=False))
        over = [name for name in names if (file := FILE.fullmatch(name)) and int(file["expires"]) <= now]
        for name in over:
            with suppress(FileNotFoundError):  # another ingress replica was faster
                self._system.rm_file(self._path(name))
        return len(over)

    def _publish(self, answer: bytes, origin: str) -> bytes:
        content: dict[str, Any] = orjson.loads(answer)
        kind = content["output_format"]
        for item in content["data"]:
            stem = f"{int(time.time() + self._lifetime_s)}-{uuid.uuid4().hex}"
            owner_only.write(self._system, self._path(f"{stem}.{kind}"), pybase64.b64decode(item.pop("b64_json")))
            item["url"] = f"{origin.rstrip('/')}{KEPT_IMAGE_PREFIX}{stem}-{self._signature(stem, kind)}.{kind}"
        return orjson.dumps(content)

    def _signature(self, stem: str, kind: str) -> str:
        return hmac.new(self._secret, f"{stem}.{kind}".encode(), "sha256").hexdigest()

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def _own_secret(self) -> bytes:
        """The secret that stands in the location, made where there is none yet."""
        path = self._path(SECRET_NAME)
        if not self._system.exists(path):
            owner_only.write(self._system, path, secrets.token_bytes(SECRET_BYTES))
        return owner_only.read(self._system, path)


def _cannot_keep() -> ApiError:
    message = "Images cannot be kept now, so there are no URLs of them. Request b64_json, or retry after a pause."
    return ApiError("overloaded", message, retry_after=SWEEP_S)  # then some have expired


def _absent() -> ApiError:
    return ApiError("unknown_url", "There is no such image, or its time is over. Generate it again.")
