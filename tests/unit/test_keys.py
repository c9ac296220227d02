"""API keys: their form, their check, and that nothing of them is repeated."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.config import KeyEntry
from app.errors import ApiError
from app.keys import KEY_FORM, LOCAL_KEY, KeyRing, hash_key, new_key, public_id

KEY = new_key()
RING = KeyRing([KeyEntry(id=public_id(KEY), sha256=hash_key(KEY))])


def test_a_key_is_a_prefix_a_public_id_and_256_bits() -> None:
    assert KEY_FORM.fullmatch(KEY)
    assert len(KEY) == len("sk-portico-") + 12 + 1 + 43
    assert new_key() != KEY
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
        f"Bearer {new_key()}",
        f"Bearer sk-portico-{public_id(KEY)}-{'0' * 43}",
        "Bearer " + "a" * 100_000,
    ],
)
def test_every_other_header_is_a_401_that_repeats_nothing(header: str | None) -> None:
    with pytest.raises(ApiError) as caught:
        RING.authenticate(header)
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")
    assert KEY not in caught.value.message
    assert public_id(KEY) not in caught.value.message


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_refused_and_never_breaks(header: str) -> None:
    with pytest.raises(ApiError):
        RING.authenticate(header)
