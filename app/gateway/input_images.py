"""Images that requests bring: inside them, or by a URL that the gateway fetches. Each is measured before any engine
sees it, and the engine gets bytes only: it never fetches.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Iterable

import aiohttp
import pybase64
import yarl

from app.background.thread_calls import ThreadCalls
from app.config.limits import InputImages
from app.gateway.image_measuring import UnreadableImage, measure
from app.parameters.parts import ImageSlot
from contract.errors import ApiError

DATA_URL = re.compile(r"data:image/[a-z.+-]{1,40};base64,", re.IGNORECASE)
DEFAULT_PORTS = {"http": 80, "https": 443}
HEADERS = {"accept": "image/*", "accept-encoding": "identity"}
CHUNK_BYTES = 64 * 1024
MEASURED_AT_ONCE = 4  # requests
# IPv6 addresses that stand for IPv4 ones, which would be reached through a translator: NAT64, 6to4, Teredo.
TRANSLATED = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))

# One text for all of it: a client is not to learn what answers inside the network.
UNREACHABLE = "could not be fetched: its host does not answer well, or is at an address that is not fetched from"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ImageLoader:
    """Puts the bytes of every image into its request, as a data URL, within the configured bounds."""

    def __init__(self, bounds: InputImages, max_total_bytes: int) -> None:
        self._bounds = bounds
        self._max_total_bytes = max_total_bytes  # fetched for one request
        self._measuring = ThreadCalls("image measuring", bounds.measure_timeout_s, MEASURED_AT_ONCE)

    async def load(self, slots: Iterable[ImageSlot]) -> None:
        """Fetch and check the images at `slots`. Raises ApiError for the first that fails."""
        slots = list(slots)
        if len(slots) > self._bounds.max_per_request:
            raise ApiError(
                "invalid_value",
                f"The request has {len(slots)} images; {self._bounds.max_per_request} are legal.",
                param=slots[self._bounds.max_per_request].place,
            )
        targets = [None if DATA_URL.match(slot.url) else self._target(slot) for slot in slots]
        fetched = await self._fetch_all(slots, targets) if any(targets) else [None] * len(slots)
        try:
            urls = await self._measuring.call(self._measured, slots, fetched)
        except TimeoutError:
            message = f"The images could not be measured in {self._bounds.measure_timeout_s:g} s. Retry the request."
            raise ApiError("overloaded", message) from None
        for slot, url in zip(slots, urls, strict=True):
            slot.put(url)

    def _target(self, slot: ImageSlot) -> yarl.URL:
        """The URL of `slot`, if it may be fetched at all."""
        try:
            url = yarl.URL(slot.url)
            port = url.port
        except ValueError:
            raise _refused(slot, "is not a URL") from None
        if url.scheme not in DEFAULT_PORTS or not url.raw_host:
            raise _refused(slot, "must be a data: URL with an image in base64, or begin with https:// or http://")
        if url.user is not None or url.password is not None:
            raise _refused(slot, "must not hold a user or a password")
        name = url.raw_host.rstrip(".").lower()
        names = {f"{name}:{port}"} | ({name} if port == DEFAULT_PORTS[url.scheme] else set())
        if not any(_allows(domain, one) for domain in self._bounds.allowed_domains for one in names):
            raise _refused(slot, "is at a host that this service does not fetch from; send the image as a data: URL")
        return url

    async def _fetch_all(self, slots: list[ImageSlot], targets: list[yarl.URL | None]) -> list[bytes | None]:
        """What is at each of `targets`."""
        timeout = aiohttp.ClientTimeout(total=self._bounds.fetch_timeout_s)
        connector = aiohttp.TCPConnector(socket_factory=self._guarded_socket)
        left = [self._max_total_bytes]
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        ) as session:
            tasks = [
                asyncio.ensure_future(self._fetch(session, *one, left)) for one in zip(slots, targets, strict=True)
            ]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()

    async def _fetch(
        self, session: aiohttp.ClientSession, slot: ImageSlot, url: yarl.URL | None, left: list[int]
    ) -> bytes | None:
        if url is None:
            return None
        content = bytearray()
        try:
            async with session.get(url, allow_redirects=False, headers=HEADERS) as response:
                if response.status != 200:
                    raise _refused(slot, f"answered {response.status}; it must answer 200 itself, without a redirect")
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    content += chunk
                    left[0] -= len(chunk)
                    if len(content) > self._bounds.max_bytes or left[0] < 0:
                        raise self._too_large(slot)
        except TimeoutError:
            raise _refused(slot, f"did not answer in {self._bounds.fetch_timeout_s:g} seconds") from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise _refused(slot, UNREACHABLE) from None
        return bytes(content)

    def _guarded_socket(self, target: tuple[object, ...]) -> socket.socket:
        """A socket to the resolved address that is about to be connected to; every connection passes here."""
        family, kind, protocol, _, address = target
        if not self._reachable(ipaddress.ip_address(str(address[0]).partition("%")[0])):  # type: ignore[index]
            raise OSError("not a public address")
        return socket.socket(family, kind, protocol)  # type: ignore[arg-type]

    def _reachable(self, address: Address) -> bool:
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if any(address in network for network in self._bounds.allowed_networks):
            return True
        return address.is_global and not address.is_multicast and not any(address in one for one in TRANSLATED)

    def _measured(self, slots: list[ImageSlot], fetched: list[bytes | None]) -> list[str]:
        """The data URL of each image. Only headers are read; the engine decodes. Raises ApiError."""
        urls, pixels = [], 0
        for slot, given in zip(slots, fetched, strict=True):
            content = self._inline(slot) if given is None else given
            try:
                image = measure(content)
            except UnreadableImage as error:
                raise _unreadable(slot, str(error)) from None
            pixels += image.pixels
            if image.pixels > self._bounds.max_pixels:
                raise _unreadable(slot, f"it has more than {self._bounds.max_pixels} pixels")
            if pixels > self._bounds.max_total_pixels:
                most = self._bounds.max_total_pixels
                raise _unreadable(slot, f"with those before it, the request has more than {most} pixels")
            encoded = f"data:image/{image.format};base64,{pybase64.b64encode(given).decode()}" if given else slot.url
            urls.append(encoded)
        return urls

    def _inline(self, slot: ImageSlot) -> bytes:
        encoded = slot.url.partition(",")[2]
        if len(encoded) > self._bounds.max_bytes // 3 * 4 + 4:
            raise self._too_large(slot)
        try:
            content = pybase64.b64decode(encoded, validate=True)
        except ValueError:
            raise _unreadable(slot, "it is not base64") from None
        if len(content) > self._bounds.max_bytes:
            raise self._too_large(slot)
        return content

    def _too_large(self, slot: ImageSlot) -> ApiError:
        limit = min(self._bounds.max_bytes, self._max_total_bytes)
        return ApiError(
            "request_too_large",
            f"The image in `{slot.place}` is larger than is legal: {limit} bytes an image, and "
            f"{self._max_total_bytes} bytes for all that are fetched.",
            param=slot.place,
        )


def _allows(domain: str, name: str) -> bool:
    """`*.example.org` allows every name under it, anything else itself only."""
    return name.endswith(domain[1:]) if domain.startswith("*.") else name == domain


def _refused(slot: ImageSlot, fault: str) -> ApiError:
    return ApiError("invalid_image_url", f"The URL in `{slot.place}` {fault}.", param=slot.place)


def _unreadable(slot: ImageSlot, fault: str) -> ApiError:
    return ApiError("invalid_image", f"The image in `{slot.place}` cannot be read: {fault}.", param=slot.place)
