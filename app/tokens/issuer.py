"""An issuer of bearer tokens in the configuration: which of its tokens are good here, and what each may do."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import pydantic
from pydantic import AfterValidator, Field, StringConstraints

from app.keys.entry import Budget, Scope, TeamId, Weight
from app.keys.local import is_loopback
from contract.fields import ModelId, PositiveFloat, Strict
from contract.project import in_project

# All are asymmetric: who can verify a token cannot make one. Each is legal with keys of its own kind only.
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
SCOPES = ("scope", "scp")  # claims whose text is several words (RFC 8693)
MAX_SKEW_S = 600.0

Claim = Annotated[str, StringConstraints(min_length=1, max_length=200)]


def safe_url(url: str) -> str:
    """`url`, if what it names may be trusted to come from there. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise ValueError(f"{url!r} must begin with https:// (http:// is legal on a loopback address only)")
    if not parts.hostname or parts.username is not None or parts.fragment or not url.isprintable() or " " in url:
        raise ValueError(f"{url!r} must name a host, and no user and no fragment")
    return url


Url = Annotated[str, StringConstraints(max_length=1000), AfterValidator(safe_url)]


class Rule(Strict):
    """What the tokens may do that have a claim with a value."""

    claim: Claim | None = Field(
        None, description="such as groups, or realm_access.roles for one inside another; left out: every token"
    )
    value: str | None = Field(
        None, description="what the claim is, or one of its list, or one word of `scope`; left out where `claim` is"
    )
    team: TeamId | None = Field(None, description="one of `teams`, whose scope and budgets it shares")
    scopes: list[Scope] = Field([], description="admin: the routes under /admin, where they are enabled")
    pipelines: list[ModelId] | None = Field(None, description="the models it may use; left out: every model")
    budget: Budget = Field(Budget(), description="of each subject, however many tokens it has")
    weight: Weight = Field(1, description="how much of a busy model each subject gets, compared with other keys")

    @pydantic.model_validator(mode="after")
    def _claim_has_a_value(self) -> Self:
        if (self.claim is None) != (self.value is None):
            raise ValueError("`claim` and `value` stand together: give both, or none of them for every token")
        return self

    @pydantic.model_validator(mode="after")
    def _not_everybody_is_an_operator(self) -> Self:
        if self.scopes and self.claim is None:
            raise ValueError("`scopes` need a `claim` with a `value`: without it every token of the issuer has them")
        return self

    def matches(self, claims: Mapping[str, Any]) -> bool:
        if self.claim is None:
            return True
        found = claim_of(claims, self.claim)
        if isinstance(found, str) and self.claim in SCOPES:
            found = found.split(" ")
        return self.value in found if isinstance(found, list) else found == self.value


def claim_of(claims: Mapping[str, Any], name: str) -> Any:
    """The claim `name`; where there is none, what its parts lead to, one inside another. None: there is neither."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


class TokenIssuer(Strict):
    """One issuer whose tokens are good here."""

    issuer: Url = Field(description="exactly as its tokens have it in `iss`")
    audiences: Annotated[list[Claim], Field(min_length=1)] = Field(
        description="names of this service, one of which a token must have in `aud`"
    )
    jwks_url: Url | None = Field(
        None,
        description="where its public keys are, as a JSON Web Key Set; left out: where its "
        "/.well-known/openid-configuration says",
    )
    algorithms: Annotated[list[Algorithm], Field(min_length=1)] = Field(
        ["RS256", "ES256", "EdDSA"], description="with which its tokens may be signed"
    )
    clock_skew_s: float = Field(
        60, ge=0, le=MAX_SKEW_S, description="by which its clock and this one may differ in `exp`, `nbf` and `iat`"
    )
    subject_claim: Claim = Field(
        "sub", description="the claim that says whose token it is; whoever has the same one shares one budget"
    )
    ca_file: str | None = Field(
        None,
        description="certificates of authorities that it is trusted by, as PEM: an absolute path, or one in the "
        "project that begins with ./; left out: those of the system",
    )
    jwks_refresh_s: float = Field(300, ge=10, description="after which its keys are fetched again")
    jwks_max_age_s: PositiveFloat = Field(
        86400, description="how long keys are good that could not be fetched again; then its tokens get 503"
    )
    rules: Annotated[list[Rule], Field(min_length=1)] = Field(
        description="what its tokens may do: the first that matches; one that none matches gets 403"
    )

    @pydantic.field_validator("issuer")
    @classmethod
    def _has_no_query(cls, value: str) -> str:
        if urlsplit(value).query:
            raise ValueError(f"{value!r} must have no query")
        return value

    @pydantic.field_validator("algorithms", mode="before")
    @classmethod
    def _are_asymmetric(cls, value: Any) -> Any:
        for one in value if isinstance(value, list) else ():
            if isinstance(one, str) and (one.lower() == "none" or one.upper().startswith("HS")):
                raise ValueError(f"{one!r} is never legal: whoever can check such a token can make one")
        return value

    @pydantic.field_validator("ca_file")
    @classmethod
    def _same_for_every_process(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("/", "./")):
            raise ValueError(f"{value!r} is neither an absolute path nor one in the project that begins with ./")
        return value

    @pydantic.model_validator(mode="after")
    def _keys_last_until_the_next(self) -> Self:
        if self.jwks_max_age_s < 2 * self.jwks_refresh_s:
            raise ValueError("jwks_max_age_s must be at least twice jwks_refresh_s, or one failed fetch refuses tokens")
        return self

    def rule_for(self, claims: Mapping[str, Any]) -> Rule | None:
        """The first that matches."""
        return next((rule for rule in self.rules if rule.matches(claims)), None)

    def ca_path(self) -> str | None:
        return None if self.ca_file is None else in_project(self.ca_file)
