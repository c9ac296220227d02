"""Fetches an issuer's JSON Web Key Set (RFC 7517), from where the configuration or its OpenID discovery says."""

import asyncio
import ssl
from typing import Any, NamedTuple

import aiohttp
import orjson
import pydantic

from app.tokens.issuer import TokenIssuer, Url
from app.tokens.issuer_fault import IssuerFault

FETCH_SECONDS = 5.0  # for all of it
MAX_BYTES = 256 * 1024  # of one document; Microsoft's, a large one, has 20 KiB
CHUNK_BYTES = 16 * 1024
DISCOVERY = "/.well-known/openid-configuration"
HEADERS = {"accept": "application/json", "accept-encoding": "identity"}
URL: pydantic.TypeAdapter[str] = pydantic.TypeAdapter(Url)


class JwksSource(NamedTuple):
    """Where an issuer's keys come from."""

    issuer: str
    jwks_url: str | None
    ca_path: str | None

    @classmethod
    def of(cls, entry: TokenIssuer) -> "JwksSource":
        return cls(entry.issuer, entry.jwks_url, entry.ca_path())

    async def fetch(self) -> list[Any]:
        """The keys as they are written there. Raises IssuerFault."""
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                return await self._fetch()
        except TimeoutError:
            raise IssuerFault(f"{self.issuer} has not given its keys within {FETCH_SECONDS:g} s") from None

    async def _fetch(self) -> list[Any]:
        context = await asyncio.to_thread(self._context)
        connector = aiohttp.TCPConnector(ssl=context)
        # trust_env: a cluster may reach the outside through a proxy only (HTTPS_PROXY).
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=True
        ) as session:
            url = self.jwks_url or await self._discover(session)
            keys = (await _get(session, url)).get("keys")
        if not isinstance(keys, list):
            raise IssuerFault(f"{url} has no list of `keys`")
        return keys

    def _context(self) -> ssl.SSLContext:
        """TLS as it is verified everywhere, with the operator's certificates in place of the system's."""
        try:
            return ssl.create_default_context(cafile=self.ca_path)
        except OSError as error:  # ssl.SSLError is one
            raise IssuerFault(f"{self.ca_path} has no certificates that can be used ({error.strerror})") from None

    async def _discover(self, session: aiohttp.ClientSession) -> str:
        url = self.issuer.rstrip("/") + DISCOVERY
        found = await _get(session, url)
        if found.get("issuer") != self.issuer:
            raise IssuerFault(f"{url} is of another issuer: `issuer` there must be {self.issuer}, to the letter")
        try:
            return URL.validate_python(found.get("jwks_uri"))
        except pydantic.ValidationError:
            raise IssuerFault(f"{url} must name an https:// URL as `jwks_uri`") from None


async def _get(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """The JSON object at `url`, which must answer itself: a redirect could lead anywhere."""
    content = bytearray()
    try:
        async with session.get(url, allow_redirects=False, headers=HEADERS) as response:
            if response.status != 200:
                raise IssuerFault(f"{url} answers {response.status}; it must answer 200 itself, without a redirect")
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                content += chunk
                if len(content) > MAX_BYTES:
                    raise IssuerFault(f"{url} answers with more than {MAX_BYTES} bytes")
    except TimeoutError:
        raise
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise IssuerFault(f"{url} cannot be fetched ({type(error).__name__}: {error})") from None
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise IssuerFault(f"{url} does not answer with a JSON object")
    return found
