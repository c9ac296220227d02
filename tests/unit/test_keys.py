"""API keys: their form, the check of an Authorization header, and that nothing of either is repeated."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.keys import LOCAL_KEY, KeyEntry, KeyRing, hash_key, new_key, public_id
from app.keys.secret import BASE62, KEY_FORM
from contract.errors import ApiError

KEY = f"sk-portico-p0rt1c0Ab9Xz-{'k' * 43}"
RING = KeyRing([KeyEntry(id=public_id(KEY), sha256=hash_key(KEY))])
IS_THE_KEY = re.compile(rf"(?i:bearer) +{KEY} *")
GOOD_HEADER = f"Bearer {KEY}"
UNKNOWN = "This API key is not valid here. Check it, or ask the operator for a new one."


def refusal(header: str | None, ring: KeyRing = RING) -> str:
    """The message with which `header` is refused: a 401 that repeats no part of a key."""
    with pytest.raises(ApiError) as caught:
        ring.authenticate(header)
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")
    assert KEY not in caught.value.message
    assert public_id(KEY) not in caught.value.message
    return caught.value.message


def test_a_key_is_a_prefix_a_public_id_and_256_bits() -> None:
    key = new_key()
    assert KEY_FORM.fullmatch(key)
    assert len(key) == len("sk-portico-") + 12 + 1 + 43
    assert new_key() != key
    assert KEY_FORM.fullmatch(LOCAL_KEY)


@pytest.mark.parametrize("header", [f"Bearer {KEY}", f"bearer {KEY}", f"BEARER  {KEY} "])
def test_a_good_key_is_known(header: str) -> None:
    assert RING.authenticate(header).id == public_id(KEY)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        KEY,
        f"Basic {KEY}",
        "Bearer",
        "Bearer ",
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY[:-1]}!",
        f"Bearer {KEY}\n",
        f"Bearer {KEY}, Bearer {KEY}",
        f"Bearer {KEY}" + " " * 512 + "x",
        "Bearer " + "a" * 100_000,
    ],
)
def test_every_other_header_is_a_401_that_says_how_to_send_a_key(header: str | None) -> None:
    assert "Bearer" in refusal(header)


@pytest.mark.parametrize("key", ["sk-foo", "sk-proj-" + "a" * 156, "hf_" + "b" * 34, "sk-portico", "local"])
def test_a_key_of_another_service_is_called_so(key: str) -> None:
    message = refusal(f"Bearer {key}")
    assert message.startswith("This is not a key of this service")
    assert "sk-portico-" in message
    assert key == "sk-portico" or key not in message


def test_a_key_of_this_service_that_is_not_whole_is_called_so() -> None:
    for broken in (KEY[:-1], KEY + "x", f"{KEY[:-1]}!", f'"{KEY}"'):
        assert refusal(f"Bearer {broken}").startswith("This API key is not whole"), broken


@pytest.mark.parametrize("header", [KEY, f"Basic {KEY}", "Bearer", "", "sk-foo"])
def test_a_header_that_holds_no_bearer_key_is_called_malformed(header: str) -> None:
    assert "is malformed. It must be `Bearer sk-portico-...`" in refusal(header)


@pytest.mark.parametrize(
    "key", [new_key(), f"sk-portico-{public_id(KEY)}-{'0' * 43}"], ids=["unknown id", "wrong secret"]
)
def test_an_unknown_id_and_a_wrong_secret_look_alike_and_cost_the_same(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[str, str]] = []
    monkeypatch.setattr("app.keys.ring.hmac.compare_digest", lambda a, b: compared.append((a, b)))
    assert refusal(f"Bearer {key}") == UNKNOWN
    ((sent, known),) = compared
    assert sent == hash_key(key)
    assert len(known) == len(sent)


@st.composite
def near_misses(draw: st.DrawFn) -> str:
    """The good header with one to four characters cut out, put in or put in place of others."""
    header = GOOD_HEADER
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(header)))
        end = start + draw(st.integers(0, 2))
        header = header[:start] + draw(st.text(st.characters() | st.sampled_from(BASE62), max_size=2)) + header[end:]
    return header


@settings(deadline=None, max_examples=500)
@example(GOOD_HEADER)
@example(GOOD_HEADER.swapcase())
@example(GOOD_HEADER.replace(" ", "\N{NO-BREAK SPACE}"))
@example(f"Bearer {KEY}\x85")
@example("\ud800")
@given(st.text(max_size=600) | st.binary(max_size=600).map(lambda raw: raw.decode("latin-1")) | near_misses())
def test_a_header_is_accepted_only_if_it_is_the_key_and_else_always_a_401(header: str) -> None:
    if IS_THE_KEY.fullmatch(header):
        assert RING.authenticate(header).id == public_id(KEY)
    else:
        refusal(header)
