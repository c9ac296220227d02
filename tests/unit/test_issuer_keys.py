"""The keys of an issuer: fetched beside the requests, rotated, kept through an outage. No token is let in unchecked,
and nobody can make the gateway hammer the issuer, or wait for it in the way of others.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.background.supervisor import Loop, Supervisor
from app.tokens import issuer_keys
from app.tokens.bearer import BearerTokens, NoTokens, tokens_of
from app.tokens.issuer import TokenIssuer
from app.tokens.verifier import TokenVerifier
from contract.errors import ApiError
from tests.token_issuer import IssuerKey, LocalIssuer, issuing, make_certificate

UNKNOWN_KEY = "none of its issuer's keys has signed it"
FAILURES = ("500", "garbage", "array", "huge", "redirect", "hang", "trickle")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.tokens.issuer_keys.LEAST_GAP_S", 0.02)
    monkeypatch.setattr("app.tokens.issuer_keys.RETRY_SECONDS", 0.05)


@pytest.fixture
def issuer() -> Iterator[LocalIssuer]:
    with issuing() as issuer:
        yield issuer


def verifier_of(issuer: LocalIssuer, before: BearerTokens | None = None, **changes: Any) -> TokenVerifier:
    verifier = tokens_of([entry_of(issuer, **changes)], before or NoTokens(), lambda: None)
    assert isinstance(verifier, TokenVerifier)
    return verifier


def entry_of(issuer: LocalIssuer, **changes: Any) -> TokenIssuer:
    """Settings with `changes` on top, also such as the configuration refuses because they are too quick."""
    return TokenIssuer.model_validate(issuer.entry()).model_copy(update=changes)


async def answer(verifier: TokenVerifier, token: str) -> str:
    """`good`, or the status and why. A 503 says when to come back."""
    try:
        await verifier.authenticate(token)
    except ApiError as error:
        headers = dict(error.headers())
        return f"{error.status} {error.message}" + (f" {headers['retry-after']}" if error.status == 503 else "")
    return "good"


def give_up_soon(monkeypatch: pytest.MonkeyPatch, failure: str) -> None:
    """For the failures that are found by waiting; others have the time that a busy machine takes."""
    if failure in ("hang", "trickle"):
        monkeypatch.setattr("app.tokens.jwks.FETCH_SECONDS", 0.5)


@asynccontextmanager
async def following(verifier: TokenVerifier) -> AsyncGenerator[None]:
    supervisor = Supervisor(lambda _: None, first_pause_s=0.01)
    supervisor.keep(Loop.ISSUER_KEYS, verifier.follow)
    try:
        yield
    finally:
        supervisor.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


class TestFetching:
    async def test_keys_are_there_before_the_first_token_and_it_waits_for_nothing(
        self, issuer: LocalIssuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        verifier = verifier_of(issuer)
        async with following(verifier):
            await until(lambda: verifier.keys[issuer.url].are_fresh)
        monkeypatch.setattr(issuer_keys.IssuerKeys, "renew", lambda _: pytest.fail("it waited"))
        assert await answer(verifier, issuer.token()) == "good"
        assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]

    async def test_keys_may_have_a_url_of_their_own_without_discovery(self, issuer: LocalIssuer) -> None:
        verifier = verifier_of(issuer, jwks_url=f"{issuer.url}/own/keys")
        assert await answer(verifier, issuer.token()) == "good"
        assert issuer.asked == ["/own/keys"]

    async def test_keys_are_fetched_again_after_the_configured_time(self, issuer: LocalIssuer) -> None:
        verifier = verifier_of(issuer, jwks_refresh_s=0.02)
        async with following(verifier):
            await until(lambda: issuer.asked.count("/keys") >= 3)

    @pytest.mark.parametrize(
        "found",
        [
            {"issuer": "https://elsewhere.example"},
            {"issuer": None},
            {"jwks_uri": "http://elsewhere.example/keys"},
            {"jwks_uri": "file:///etc/passwd"},
            {"jwks_uri": "https://user:password@elsewhere.example/keys"},
            {"jwks_uri": 7},
            {"jwks_uri": None},
        ],
        ids=str,
    )
    async def test_discovery_is_of_this_issuer_and_leads_to_a_safe_place(
        self, issuer: LocalIssuer, found: dict[str, Any]
    ) -> None:
        issuer.discovery = found
        assert (await answer(verifier_of(issuer), issuer.token())).startswith("503")
        assert issuer.asked == ["/.well-known/openid-configuration"]

    async def test_a_redirect_is_not_followed(self, issuer: LocalIssuer) -> None:
        issuer.failure = "redirect"
        assert (await answer(verifier_of(issuer), issuer.token())).startswith("503")
        assert "/elsewhere" not in issuer.asked

    async def test_its_certificate_must_be_trusted(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        certificate = make_certificate(tmp_path / "certificate.pem")
        with issuing(certificate=certificate) as issuer:
            assert (await answer(verifier_of(issuer), issuer.token())).startswith("503")
            assert "CERTIFICATE_VERIFY_FAILED" in caplog.text
            assert await answer(verifier_of(issuer, ca_file=str(certificate)), issuer.token()) == "good"

    async def test_a_file_of_certificates_that_is_not_there_is_reported(
        self, issuer: LocalIssuer, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert (await answer(verifier_of(issuer, ca_file="/nowhere.pem"), issuer.token())).startswith("503")
        assert "/nowhere.pem has no certificates that can be used" in caplog.text


class TestRotation:
    async def test_a_token_of_a_new_key_is_good_at_once(self, issuer: LocalIssuer) -> None:
        verifier, old = verifier_of(issuer), issuer.token()
        assert await answer(verifier, old) == "good"
        issuer.rotate("second", keep=True)
        assert await answer(verifier, issuer.token()) == "good"
        assert await answer(verifier, old) == "good"

    async def test_a_key_that_went_takes_its_tokens_along_remembered_or_not(self, issuer: LocalIssuer) -> None:
        verifier, old, other = verifier_of(issuer), issuer.token(), issuer.token(sub="bob")
        assert await answer(verifier, old) == "good"
        issuer.rotate("second")
        assert await answer(verifier, issuer.token()) == "good"
        assert UNKNOWN_KEY in await answer(verifier, old)
        assert UNKNOWN_KEY in await answer(verifier, other)

    async def test_a_key_that_stays_keeps_its_tokens_remembered(
        self, issuer: LocalIssuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        verifier, old = verifier_of(issuer), issuer.token()
        assert await answer(verifier, old) == "good"
        issuer.rotate("second", keep=True)
        assert await answer(verifier, issuer.token()) == "good"
        monkeypatch.setattr("app.tokens.verifier.read", lambda _: pytest.fail("it was read again"))
        assert await answer(verifier, old) == "good"

    async def test_a_new_key_under_an_old_name_takes_its_place(self, issuer: LocalIssuer) -> None:
        verifier, old = verifier_of(issuer, jwks_refresh_s=0.02), issuer.token()
        async with following(verifier):
            assert await answer(verifier, old) == "good"
            issuer.rotate("first")
            asked = issuer.asked.count("/keys")
            await until(lambda: issuer.asked.count("/keys") >= asked + 2)
            assert await answer(verifier, issuer.token()) == "good"
            assert "signature is wrong" in await answer(verifier, old)

    async def test_a_key_without_a_name_is_followed_too(self) -> None:
        with issuing(IssuerKey.make(None)) as issuer:
            verifier, old = verifier_of(issuer), issuer.token()
            assert await answer(verifier, old) == "good"
            issuer.keys = [IssuerKey.make(None)]
            assert await answer(verifier, issuer.token()) == "good"
            assert UNKNOWN_KEY in await answer(verifier, old)

    async def test_an_issuer_without_any_key_has_no_good_tokens(
        self, issuer: LocalIssuer, caplog: pytest.LogCaptureFixture
    ) -> None:
        verifier, token = verifier_of(issuer), issuer.token()
        assert await answer(verifier, token) == "good"
        issuer.keys = []
        assert UNKNOWN_KEY in await answer(verifier, issuer.token(IssuerKey.make("new")))
        assert UNKNOWN_KEY in await answer(verifier, token)
        assert "has no key that can verify a token" in caplog.text


class TestAnOutage:
    @pytest.mark.parametrize("failure", FAILURES)
    async def test_known_keys_stay_good_and_it_is_reported_once(
        self, issuer: LocalIssuer, failure: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        verifier = verifier_of(issuer, jwks_refresh_s=0.02)
        async with following(verifier):
            assert await answer(verifier, issuer.token()) == "good"
            give_up_soon(monkeypatch, failure)
            issuer.failure = failure
            keys = verifier.keys[issuer.url]
            await until(lambda: keys.fault is not None)
            asked = len(issuer.asked)
            await until(lambda: len(issuer.asked) >= asked + 2)
            assert await answer(verifier, issuer.token(sub="bob")) == "good"
            (record,) = (one for one in caplog.records if issuer.url in one.message)
            assert (record.name, record.levelno) == ("portico.tokens", logging.WARNING)
            assert "the keys fetched before stay good for a time" in record.message

    @pytest.mark.parametrize("failure", FAILURES)
    async def test_without_known_keys_tokens_get_503_until_it_is_over(
        self, issuer: LocalIssuer, failure: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        issuer.failure = failure
        verifier = verifier_of(issuer)
        async with following(verifier):
            with monkeypatch.context() as patch:
                give_up_soon(patch, failure)
                assert (await answer(verifier, issuer.token())).startswith("503")
            issuer.failure = None
            issuer.going_on.set()
            await until(lambda: verifier.keys[issuer.url].fault is None)
            assert await answer(verifier, issuer.token()) == "good"

    async def test_where_nothing_listens_tokens_get_503(self) -> None:
        with issuing() as issuer:
            token = issuer.token()
        assert (await answer(verifier_of(issuer), token)).startswith("503")

    async def test_a_token_of_a_new_key_is_neither_let_in_nor_called_wrong(self, issuer: LocalIssuer) -> None:
        verifier = verifier_of(issuer)
        assert await answer(verifier, issuer.token()) == "good"
        issuer.failure = "500"
        assert (await answer(verifier, issuer.token(IssuerKey.make("second")))).startswith("503")

    async def test_keys_that_are_too_old_are_no_longer_believed(self, issuer: LocalIssuer) -> None:
        now = 0.0
        verifier = verifier_of(issuer, jwks_max_age_s=100)
        entry = entry_of(issuer, jwks_max_age_s=100)
        verifier.keys[issuer.url] = issuer_keys.IssuerKeys(entry, lambda: None, lambda: now)
        token = issuer.token()
        assert await answer(verifier, token) == "good"
        issuer.failure = "500"
        now = 100.0
        assert await answer(verifier, token) == "good"
        now = 100.1
        assert (await answer(verifier, token)).startswith("503")
        assert (await answer(verifier, issuer.token(sub="bob"))).startswith("503")

    async def test_while_it_is_known_nobody_waits(self, issuer: LocalIssuer) -> None:
        verifier = verifier_of(issuer)
        issuer.failure = "500"
        assert (await answer(verifier, issuer.token())).startswith("503")
        issuer.failure, asked = "hang", len(issuer.asked)
        for _ in range(20):
            assert (await answer(verifier, issuer.token())).startswith("503")
        assert len(issuer.asked) == asked

    async def test_each_failed_fetch_is_counted(self, issuer: LocalIssuer) -> None:
        issuer.failure, failures = "500", []
        verifier = TokenVerifier([entry_of(issuer)], count_failure=lambda: failures.append(1))
        async with following(verifier):
            await until(lambda: len(failures) >= 3)
            assert len(failures) <= issuer.asked.count("/.well-known/openid-configuration")

    async def test_its_end_is_reported(self, issuer: LocalIssuer, caplog: pytest.LogCaptureFixture) -> None:
        issuer.failure = "500"
        verifier = verifier_of(issuer)
        async with following(verifier):
            await until(lambda: "its tokens get 503" in caplog.text)
            issuer.failure = None
            await until(lambda: f"the keys of {issuer.url} could be fetched again" in caplog.text)

    async def test_of_one_issuer_is_none_of_another(self, issuer: LocalIssuer) -> None:
        with issuing() as other:
            verifier = TokenVerifier([TokenIssuer.model_validate(one.entry()) for one in (issuer, other)])
            other.failure = "500"
            async with following(verifier):
                assert await answer(verifier, issuer.token()) == "good"
                assert (await answer(verifier, other.token())).startswith("503")
                assert await answer(verifier, issuer.token(sub="bob")) == "good"

    async def test_a_change_of_the_rules_keeps_the_known_keys(self, issuer: LocalIssuer) -> None:
        before = verifier_of(issuer)
        assert await answer(before, issuer.token()) == "good"
        issuer.failure = "500"
        after = verifier_of(issuer, before, clock_skew_s=1.0)
        assert await answer(after, issuer.token()) == "good"
        elsewhere = verifier_of(issuer, before, jwks_url=f"{issuer.url}/own/keys")
        assert (await answer(elsewhere, issuer.token())).startswith("503")


class TestUnknownKeys:
    async def test_all_who_wait_share_a_fetch(self, issuer: LocalIssuer) -> None:
        verifier = verifier_of(issuer)
        tokens = [issuer.token(sub=str(number)) for number in range(50)]
        assert set(await asyncio.gather(*(answer(verifier, token) for token in tokens))) == {"good"}
        assert issuer.asked.count("/keys") == 1

    async def test_random_names_of_keys_do_not_hammer_the_issuer(
        self, issuer: LocalIssuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.tokens.issuer_keys.LEAST_GAP_S", gap := 0.3)
        verifier, forger, began = verifier_of(issuer), IssuerKey.make("forged"), time.monotonic()
        for _ in range(3):
            forged = [issuer.token(forger, {"kid": f"{number}"}) for number in range(80)]
            for one in await asyncio.gather(*(answer(verifier, token) for token in forged)):
                assert UNKNOWN_KEY in one
        assert 1 <= issuer.asked.count("/keys") <= 1 + (time.monotonic() - began) / gap

    async def test_no_more_wait_than_the_bound_and_known_keys_are_not_in_their_way(
        self, issuer: LocalIssuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.tokens.issuer_keys.MAX_WAITING", 5)
        monkeypatch.setattr("app.tokens.jwks.FETCH_SECONDS", 30)
        verifier, forger = verifier_of(issuer), IssuerKey.make("forged")
        assert await answer(verifier, issuer.token()) == "good"
        issuer.failure = "hang"
        waiting = [asyncio.create_task(answer(verifier, issuer.token(forger))) for _ in range(5)]
        await until(lambda: issuer.asked.count("/.well-known/openid-configuration") == 2)
        assert (await answer(verifier, issuer.token(forger))).startswith("503")
        assert await answer(verifier, issuer.token(sub="bob")) == "good"
        assert not any(task.done() for task in waiting)
        issuer.failure = None
        issuer.going_on.set()
        assert all(UNKNOWN_KEY in one for one in await asyncio.gather(*waiting))

    async def test_none_waits_for_longer_than_the_bound(
        self, issuer: LocalIssuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.tokens.issuer_keys.WAIT_SECONDS", 0.05)
        monkeypatch.setattr("app.tokens.jwks.FETCH_SECONDS", 30)
        issuer.failure = "hang"
        assert (await answer(verifier_of(issuer), issuer.token())).startswith("503")

    async def test_who_leaves_while_it_waits_takes_the_fetch_from_nobody(self, issuer: LocalIssuer) -> None:
        verifier = verifier_of(issuer)
        issuer.failure = "hang"
        first = asyncio.create_task(answer(verifier, issuer.token()))
        second = asyncio.create_task(answer(verifier, issuer.token(sub="bob")))
        await until(lambda: bool(issuer.asked))
        first.cancel()
        issuer.going_on.set()
        assert await second == "good"
        with pytest.raises(asyncio.CancelledError):
            await first
