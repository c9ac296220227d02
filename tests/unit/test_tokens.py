"""Bearer tokens: which are good, and that none that was tampered with or is for another use ever is."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from app.keys import LOCAL_KEY, KeyEntry
from app.tokens.issuer import TokenIssuer
from app.tokens.issuer_fault import IssuerFault
from app.tokens.signed_token import MAX_LENGTH
from app.tokens.subject import subject_id
from app.tokens.verifier import TokenVerifier
from contract.errors import ApiError
from tests.token_issuer import AUDIENCE, IssuerKey, LocalIssuer, issuing

RSA, EC, ED = IssuerKey.make("rsa", "RS256"), IssuerKey.make("ec"), IssuerKey.make("ed", "EdDSA")
SKEW = 60


@pytest.fixture(scope="module")
def issuer() -> Iterator[LocalIssuer]:
    with issuing(RSA, EC, ED) as issuer:
        yield issuer


@pytest.fixture
def verifier(issuer: LocalIssuer) -> TokenVerifier:
    return verifier_of(issuer)


def verifier_of(*issuers: LocalIssuer, now: Any = time.time, **changes: Any) -> TokenVerifier:
    return TokenVerifier([TokenIssuer.model_validate(one.entry(**changes)) for one in issuers], now=now)


async def refusal(verifier: TokenVerifier, token: str) -> str:
    """Why it is a 401. The message repeats no part of the token."""
    with pytest.raises(ApiError) as caught:
        await verifier.authenticate(token)
    error = caught.value
    assert (error.status, error.code) == (401, "invalid_api_key"), error.message
    assert ("www-authenticate", 'Bearer error="invalid_token"') in error.headers()
    assert not any(part and part in error.message for part in token.split("."))
    return error.message


def base64url(content: bytes | str | dict[str, Any]) -> str:
    if isinstance(content, dict):
        content = json.dumps(content)
    raw = content.encode() if isinstance(content, str) else content
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(key: IssuerKey, header: str | dict[str, Any], claims: str | dict[str, Any]) -> str:
    """A token with a right signature over whatever its parts are."""
    signing_input = f"{base64url(header)}.{base64url(claims)}"
    algorithm = jwt.get_algorithm_by_name(key.algorithm)
    return f"{signing_input}.{base64url(algorithm.sign(signing_input.encode(), key.private))}"


class TestAGoodToken:
    @pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda key: key.algorithm)
    async def test_says_who_sends_it_and_when_it_ends(
        self, verifier: TokenVerifier, issuer: LocalIssuer, key: IssuerKey
    ) -> None:
        ends = int(time.time()) + 300
        entry = await verifier.authenticate(issuer.token(key, exp=ends))
        assert (entry.name, entry.id) == ("alice", subject_id(issuer.url, "alice"))
        assert entry.expires is not None
        assert entry.expires.timestamp() == ends

    @pytest.mark.parametrize("algorithm", ["PS256", "ES384"])
    async def test_has_an_algorithm_that_is_configured(self, algorithm: str) -> None:
        with issuing(IssuerKey.make("other", algorithm)) as issuer:
            assert await verifier_of(issuer, algorithms=[algorithm]).authenticate(issuer.token())
            assert "Legal are RS256" in await refusal(verifier_of(issuer), issuer.token())

    @pytest.mark.parametrize("audience", [AUDIENCE, ["other", AUDIENCE], "second"])
    async def test_names_this_service_among_its_audiences(self, issuer: LocalIssuer, audience: Any) -> None:
        assert await verifier_of(issuer, audiences=[AUDIENCE, "second"]).authenticate(issuer.token(aud=audience))

    @pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+jwt", None])
    async def test_has_the_type_of_an_access_token(
        self, verifier: TokenVerifier, issuer: LocalIssuer, kind: str | None
    ) -> None:
        assert await verifier.authenticate(issuer.token(header={"typ": kind}))

    async def test_need_not_name_its_key_where_its_issuer_has_one_only(self) -> None:
        with issuing(IssuerKey.make(None)) as issuer:
            assert await verifier_of(issuer).authenticate(issuer.token())

    async def test_may_hold_names_of_keys_elsewhere_which_nobody_looks_at(
        self, verifier: TokenVerifier, issuer: LocalIssuer
    ) -> None:
        header = {"jku": f"{issuer.url}/mine", "x5u": f"{issuer.url}/mine", "jwk": IssuerKey.make("mine").jwk()}
        assert await verifier.authenticate(issuer.token(header=header))
        assert "/mine" not in issuer.asked

    async def test_is_of_one_subject_however_many_tokens_it_has(
        self, verifier: TokenVerifier, issuer: LocalIssuer
    ) -> None:
        one = await verifier.authenticate(issuer.token(RSA))
        two = await verifier.authenticate(issuer.token(EC, jti="2"))
        other = await verifier.authenticate(issuer.token(sub="bob"))
        assert one.id == two.id != other.id

    async def test_that_comes_again_costs_a_hash(
        self, verifier: TokenVerifier, issuer: LocalIssuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        token = issuer.token()
        first = await verifier.authenticate(token)
        monkeypatch.setattr("app.tokens.verifier.read", lambda _: pytest.fail("it was read again"))
        assert await verifier.authenticate(token) is first

    async def test_no_more_are_remembered_than_the_bound(
        self, verifier: TokenVerifier, issuer: LocalIssuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.tokens.verifier.REMEMBERED", 2)
        tokens = [issuer.token(EC, sub=f"subject {number}") for number in range(3)]
        entries = [await verifier.authenticate(token) for token in tokens]
        assert await verifier.authenticate(tokens[2]) is entries[2]
        assert await verifier.authenticate(tokens[0]) is not entries[0]


class TestTime:
    @pytest.mark.parametrize(
        ("claims", "good"),
        [
            ({"exp": 1 - SKEW}, True),
            ({"exp": -SKEW}, False),
            ({"nbf": SKEW}, True),
            ({"nbf": SKEW + 1}, False),
            ({"iat": SKEW}, True),
            ({"iat": SKEW + 1}, False),
            ({"iat": -10_000_000}, True),
        ],
        ids=str,
    )
    async def test_clocks_may_differ_by_the_skew_and_no_more(
        self, issuer: LocalIssuer, claims: dict[str, Any], good: bool
    ) -> None:
        now = int(time.time())
        verifier = verifier_of(issuer, now=lambda: float(now), clock_skew_s=SKEW)
        token = issuer.token(EC, **{name: now + offset for name, offset in claims.items()})
        if good:
            assert await verifier.authenticate(token)
        else:
            assert "seconds" in await refusal(verifier, token)

    async def test_one_that_is_remembered_ends_all_the_same(self, issuer: LocalIssuer) -> None:
        now = int(time.time())
        verifier = verifier_of(issuer, now=lambda: float(now))
        token = issuer.token(EC, exp=now + 10)
        await verifier.authenticate(token)
        now += 10 + SKEW
        assert "it expired 60 seconds ago. Get a new one." in await refusal(verifier, token)

    @pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
    @pytest.mark.parametrize("value", ["1", True, [], 1e400, -1, 10**30], ids=str)
    async def test_what_is_no_time_is_refused(
        self, verifier: TokenVerifier, issuer: LocalIssuer, name: str, value: Any
    ) -> None:
        claims = json.dumps(issuer.claims() | {name: "here"}).replace('"here"', str(value).replace("inf", "1e400"))
        if isinstance(value, str | bool):
            claims = json.dumps(issuer.claims() | {name: value})
        assert f"its `{name}` must be" in await refusal(verifier, signed(EC, {"alg": "ES256", "kid": "ec"}, claims))

    async def test_one_that_never_ends_is_refused(self, verifier: TokenVerifier, issuer: LocalIssuer) -> None:
        assert "never expires" in await refusal(verifier, issuer.token(exp=None))


class TestClaims:
    @pytest.mark.parametrize("audience", [None, "other", ["other"], [], [["portico"]], {"portico": 1}, AUDIENCE + "x"])
    async def test_of_another_audience(self, verifier: TokenVerifier, issuer: LocalIssuer, audience: Any) -> None:
        token = signed(EC, {"alg": "ES256", "kid": "ec"}, issuer.claims(aud=audience))
        assert "another audience (`aud`). Get one for portico" in await refusal(verifier, token)

    @pytest.mark.parametrize("name", ["https://elsewhere.example", "", 1, ["a"], None], ids=str)
    async def test_of_an_issuer_that_is_not_trusted(
        self, verifier: TokenVerifier, issuer: LocalIssuer, name: Any
    ) -> None:
        token = signed(EC, {"alg": "ES256", "kid": "ec"}, issuer.claims(iss=name))
        assert "its issuer (`iss`)" in await refusal(verifier, token)

    @pytest.mark.parametrize("subject", [None, "", 7, ["alice"], "x" * 513], ids=lambda value: str(value)[:9])
    async def test_without_a_subject(self, verifier: TokenVerifier, issuer: LocalIssuer, subject: Any) -> None:
        token = signed(EC, {"alg": "ES256", "kid": "ec"}, issuer.claims(sub=subject))
        assert "does not say whose it is: its claim `sub`" in await refusal(verifier, token)

    async def test_a_subject_s_name_is_short_and_printable_and_its_id_has_nothing_of_it(
        self, verifier: TokenVerifier, issuer: LocalIssuer
    ) -> None:
        entry = await verifier.authenticate(issuer.token(EC, sub="eve\n\x1b[2J" + "x" * 200))
        assert entry.name == "eve??[2J" + "x" * 92
        assert "eve" not in entry.id

    async def test_a_subject_cannot_have_the_id_of_a_key(self, verifier: TokenVerifier, issuer: LocalIssuer) -> None:
        entry = await verifier.authenticate(issuer.token(EC, sub="local0000000"))
        with pytest.raises(ValueError, match="id"):
            KeyEntry.model_validate(entry.model_dump())

    async def test_the_same_subject_of_two_issuers_is_two(self, issuer: LocalIssuer) -> None:
        with issuing() as other:
            verifier = verifier_of(issuer, other)
            ids = {(await verifier.authenticate(one.token())).id for one in (issuer, other)}
        assert len(ids) == 2


class TestAnAttack:
    async def test_with_the_public_key_as_a_secret(self, verifier: TokenVerifier, issuer: LocalIssuer) -> None:
        """Algorithm confusion: HMAC, whose secret would be what everybody can read."""
        public = RSA.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        for secret in (public, json.dumps(RSA.jwk()).encode()):
            signing_input = f"{base64url({'alg': 'HS256', 'kid': 'rsa'})}.{base64url(issuer.claims())}"
            mac = hmac.digest(secret, signing_input.encode(), hashlib.sha256)
            assert "its algorithm (`alg`)" in await refusal(verifier, f"{signing_input}.{base64url(mac)}")

    @pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "HS256", "RS257", "../ES256"])
    @pytest.mark.parametrize("signature", ["", "AAAA"])
    async def test_without_a_signature(
        self, verifier: TokenVerifier, issuer: LocalIssuer, algorithm: str, signature: str
    ) -> None:
        token = f"{base64url({'alg': algorithm, 'kid': 'ec'})}.{base64url(issuer.claims())}.{signature}"
        assert verifier.token_in(f"Bearer {token}") == token
        assert "algorithm" in await refusal(verifier, token)

    @pytest.mark.parametrize("missing", [{}, {"alg": None}, {"alg": 7}, {"alg": ["ES256"]}], ids=str)
    async def test_without_an_algorithm(
        self, verifier: TokenVerifier, issuer: LocalIssuer, missing: dict[str, Any]
    ) -> None:
        assert "(`alg`)" in await refusal(verifier, signed(EC, missing | {"kid": "ec"}, issuer.claims()))

    async def test_with_a_key_under_an_algorithm_of_another_kind(
        self, verifier: TokenVerifier, issuer: LocalIssuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.tokens.issuer_keys.LEAST_GAP_S", 0.0)
        assert await refusal(verifier, signed(EC, {"alg": "RS256", "kid": "ec"}, issuer.claims()))
        assert await refusal(verifier, signed(RSA, {"alg": "ES256", "kid": "rsa"}, issuer.claims()))

    async def test_with_a_key_of_its_own_in_the_header(self, verifier: TokenVerifier, issuer: LocalIssuer) -> None:
        mine = IssuerKey.make("ec")
        header = {"jwk": mine.jwk(), "jku": f"{issuer.url}/mine"}
        assert "signature is wrong" in await refusal(verifier, issuer.token(mine, header=header))

    async def test_with_the_key_of_another_trusted_issuer(self, issuer: LocalIssuer) -> None:
        with issuing(IssuerKey.make("ec")) as other:
            verifier = verifier_of(issuer, other)
            assert await verifier.authenticate(other.token())
            assert "signature is wrong" in await refusal(verifier, other.token(iss=issuer.url))
            assert "signature is wrong" in await refusal(verifier, issuer.token(EC, iss=other.url))

    @pytest.mark.parametrize("part", [0, 1, 2])
    async def test_on_each_part_of_a_good_token(self, verifier: TokenVerifier, issuer: LocalIssuer, part: int) -> None:
        """With the parts of another good one of the same key."""
        parts = issuer.token(EC).split(".")
        others = issuer.token(EC, {"x": 1}, sub="admin").split(".")
        await verifier.authenticate(".".join(parts))
        parts[part] = others[part]
        assert "signature is wrong" in await refusal(verifier, ".".join(parts))

    @pytest.mark.parametrize(
        "key_id", ["../../etc/passwd", "' OR 1=1 --", "http://elsewhere.example/keys", "\0", "ec ", "EC"]
    )
    async def test_through_the_name_of_a_key(
        self, verifier: TokenVerifier, issuer: LocalIssuer, key_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.tokens.issuer_keys.LEAST_GAP_S", 0.0)
        asked = len(issuer.asked)
        assert "none of its issuer's keys" in await refusal(verifier, issuer.token(EC, {"kid": key_id}))
        assert set(issuer.asked[asked:]) == {"/.well-known/openid-configuration", "/keys"}

    @pytest.mark.parametrize("key_id", ["", "k" * 257, 7, ["ec"], {"ec": 1}], ids=lambda value: str(value)[:9])
    async def test_with_a_name_of_a_key_that_is_none(
        self, verifier: TokenVerifier, issuer: LocalIssuer, key_id: Any
    ) -> None:
        token = signed(EC, {"alg": "ES256", "kid": key_id}, issuer.claims())
        assert "`kid` must be a text" in await refusal(verifier, token)

    async def test_that_names_no_key_where_several_could_be_meant(self) -> None:
        with issuing(IssuerKey.make("one"), IssuerKey.make("two")) as issuer:
            token = signed(issuer.keys[0], {"alg": "ES256"}, issuer.claims())
            assert "it names none (`kid`)" in await refusal(verifier_of(issuer), token)

    @pytest.mark.parametrize(
        ("header", "fault"),
        [
            ({"crit": ["exp"], "exp": 1}, "`crit`"),
            ({"crit": []}, "`crit`"),
            ({"crit": ["b64"], "b64": False}, "`crit`"),
            ({"b64": False}, "detached"),
            ({"cty": "JWT"}, "another token"),
            ({"enc": "A256GCM"}, "encrypted"),
            ({"typ": "logout+jwt"}, "another use"),
            ({"typ": "dpop+jwt"}, "another use"),
            ({"typ": 1}, "another use"),
        ],
        ids=str,
    )
    async def test_with_a_header_that_changes_what_the_token_is(
        self, verifier: TokenVerifier, issuer: LocalIssuer, header: dict[str, Any], fault: str
    ) -> None:
        token = signed(EC, {"alg": "ES256", "kid": "ec"} | header, issuer.claims())
        assert fault in await refusal(verifier, token)

    async def test_with_a_member_that_is_there_twice(self, verifier: TokenVerifier, issuer: LocalIssuer) -> None:
        claims = json.dumps(issuer.claims())
        twice = claims[:-1] + ', "sub": "admin"}'
        assert "there twice" in await refusal(verifier, signed(EC, {"alg": "ES256", "kid": "ec"}, twice))
        header = '{"alg": "ES256", "kid": "ec", "alg": "none"}'
        assert "there twice" in await refusal(verifier, signed(EC, header, claims))

    @pytest.mark.parametrize(
        "content", ["[]", "1", '"text"', "null", "{", '{"exp": NaN}', "{\xff", "[" * 3000, "", "\ud7ff{}"]
    )
    async def test_with_parts_that_are_no_json_object(
        self, verifier: TokenVerifier, issuer: LocalIssuer, content: str
    ) -> None:
        assert await refusal(verifier, signed(EC, content, issuer.claims()))
        assert await refusal(verifier, signed(EC, {"alg": "ES256", "kid": "ec"}, content))

    async def test_that_is_encrypted(self, verifier: TokenVerifier) -> None:
        header = base64url({"alg": "RSA-OAEP", "enc": "A256GCM"})
        assert "encrypted" in await refusal(verifier, f"{header}.AAAA.BBBB.CCCC.DDDD")

    async def test_that_is_huge(self, verifier: TokenVerifier, issuer: LocalIssuer) -> None:
        token = issuer.token(EC, groups=["g" * 100] * 100)
        assert len(token) > MAX_LENGTH
        assert f"longer than {MAX_LENGTH}" in await refusal(verifier, token)
        assert "header is longer" in await refusal(verifier, issuer.token(EC, {"x5c": "c" * 4000}))

    async def test_with_a_key_that_can_be_broken(self) -> None:
        weak = IssuerKey("weak", "RS256", rsa.generate_private_key(65537, 1024))  # noqa: S505 - the very thing that is refused
        with issuing(weak) as issuer:
            with pytest.warns(jwt.InsecureKeyLengthWarning):
                token = issuer.token()
            assert "none of its issuer's keys" in await refusal(verifier_of(issuer), token)

    @pytest.mark.parametrize(
        "line",
        [
            {"use": "enc"}, {"key_ops": ["encrypt"]}, {"alg": "ES384"}, {"alg": "HS256"}, {"kty": "oct", "k": "AAAA"},
            {"crv": "P-384"}, {"kty": 1}, {"x": "!"}, {"d": "AAAA"}, {"kid": 7},
        ],
        ids=str,
    )  # fmt: skip
    async def test_with_a_key_that_its_issuer_does_not_sign_with(
        self, line: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = IssuerKey.make("ec")
        published = key.jwk() | line
        monkeypatch.setattr(IssuerKey, "jwk", lambda _: published)
        monkeypatch.setattr("app.tokens.issuer_keys.LEAST_GAP_S", 0.0)
        with issuing(key) as issuer:
            assert "none of its issuer's keys" in await refusal(verifier_of(issuer), issuer.token())


class TestTheHeader:
    @pytest.mark.parametrize("written", ["Bearer {}", "bearer {}", "BEARER  {} "])
    def test_holds_a_token(self, verifier: TokenVerifier, issuer: LocalIssuer, written: str) -> None:
        token = issuer.token()
        assert verifier.token_in(written.format(token)) == token

    @pytest.mark.parametrize(
        "header", [None, "", "Bearer", f"Bearer {LOCAL_KEY}", "Basic a.b.c", "Bearer a.b", "Bearer a.b.c d", "a.b.c"]
    )
    def test_that_holds_none_is_a_key_s(self, verifier: TokenVerifier, header: str | None) -> None:
        assert verifier.token_in(header) is None

    def test_is_a_key_s_where_no_issuer_is_trusted(self, issuer: LocalIssuer) -> None:
        assert TokenVerifier().token_in(f"Bearer {issuer.token()}") is None


NOON = 1_800_000_000
ONLY = IssuerKey.make("only")


def with_known_keys(issuer: LocalIssuer) -> TokenVerifier:
    """A verifier at NOON with the keys of `issuer`, to which the way is cut."""

    async def made() -> TokenVerifier:
        verifier = verifier_of(issuer, now=lambda: float(NOON))
        await verifier.keys[issuer.url].renew()
        issuer.failure = "500"
        with pytest.raises(IssuerFault):
            await verifier.keys[issuer.url].renew()
        return verifier

    return asyncio.run(made())


@pytest.fixture(scope="module")
def known() -> Iterator[tuple[LocalIssuer, TokenVerifier]]:
    with issuing(ONLY) as issuer, pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.tokens.issuer_keys.LEAST_GAP_S", 0.0)
        yield issuer, with_known_keys(issuer)


@settings(deadline=None, max_examples=200)
@given(changes=st.lists(st.tuples(st.integers(0), st.integers(0, 2), st.text("abcXYZ019-_.=", max_size=2)), min_size=1))
def test_no_text_but_the_token_itself_is_ever_good(
    known: tuple[LocalIssuer, TokenVerifier], changes: list[tuple[int, int, str]]
) -> None:
    """Characters of a good token are changed, put in or cut out."""
    issuer, verifier = known
    token = changed = issuer.token(exp=NOON + 60, iat=NOON)
    for place, cut, put in changes:
        start = place % (len(changed) + 1)
        changed = changed[:start] + put + changed[start + cut :]
    if changed == token:
        assert asyncio.run(verifier.authenticate(changed)).name == "alice"
        return
    with pytest.raises(ApiError) as caught:
        asyncio.run(verifier.authenticate(changed))
    # 503 where the name of the key is another: it cannot be fetched now.
    assert caught.value.status in (401, 503)
