"""Token issuers whose certificates are not there, and those that do not answer with keys, where these are asked for."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from app.commands.findings.finding import Finding
from app.config.service import Config
from app.tokens.issuer_fault import IssuerFault
from app.tokens.jwks import JwksSource
from app.tokens.signing_key import read_keys


def certificate_findings(config: Config, *, here: bool) -> Iterator[Finding]:
    """`here` says whether the gateway runs on this machine only."""
    for number, entry in enumerate(config.token_issuers):
        path = entry.ca_path()
        if path is not None and not Path(path).is_file():
            place = f"token_issuers[{number}].ca_file"
            said = "is not there" if here else "is not on this machine; it must be on every node where the gateway runs"
            yield Finding(place, f"{entry.ca_file} {said}", is_fault=here)


def answer_findings(config: Config) -> Iterator[Finding]:
    """Asks each issuer for its keys, as the gateway will."""
    for number, entry in enumerate(config.token_issuers):
        place = f"token_issuers[{number}]"
        try:
            keys = read_keys(asyncio.run(JwksSource.of(entry).fetch()))
        except IssuerFault as fault:
            yield Finding(place, str(fault))
            continue
        usable = [key for key in keys if set(key.by_algorithm) & set(entry.algorithms)]
        if usable:
            named = ", ".join(sorted({name for key in usable for name in key.by_algorithm} & set(entry.algorithms)))
            yield Finding(place, f"{entry.issuer} answers with {len(usable)} keys, for {named}", is_fault=False)
        else:
            legal = ", ".join(entry.algorithms)
            yield Finding(place, f"{entry.issuer} answers with no key for {legal}; see `algorithms`")
