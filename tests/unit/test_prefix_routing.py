"""Affinity: what of a request becomes a key, and which replica follows from it."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.routing import Routing
from app.upstream.affinity import BLOCK_BYTES, MAX_BLOCKS, MAX_TEXTS, affinity, prefix_of
from app.upstream.prefix_map import PrefixMap, two_of

SYSTEM = {"role": "system", "content": "You are helpful. " * 100}
PREFIX = Routing(policy="prefix")


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def chat(*messages: Any) -> dict[str, Any]:
    return {"messages": list(messages)}


class TestKeys:
    def test_a_longer_conversation_has_the_blocks_of_the_shorter_and_its_opening(self) -> None:
        first = chat(SYSTEM, user("q " * 400))
        second = chat(SYSTEM, user("q " * 400), {"role": "assistant", "content": "a"}, user("and " * 400))
        short, long = prefix_of(first), prefix_of(second)
        assert len(short) > 4
        assert long[: len(short)] == short

    def test_another_first_word_is_another_prefix(self) -> None:
        one, other = prefix_of(chat(user("one " * 300))), prefix_of(chat(user("two " * 300)))
        assert not set(one) & set(other)

    def test_tools_stand_before_the_messages(self) -> None:
        tools = {"tools": [{"type": "function", "function": {"name": "f", "description": "d" * 600}}]}
        assert prefix_of(tools | chat(user("hi")))[1] == prefix_of(tools | chat(user("ho")))[1]

    def test_the_opening_is_that_of_all_turns_and_no_other_conversation(self) -> None:
        openings = [prefix_of(chat(SYSTEM, user(f"question {n}"), user("more")))[0] for n in range(20)]
        assert len(set(openings)) == 20
        assert openings[3] == prefix_of(chat(SYSTEM, user("question 3")))[0]

    def test_responses_and_plain_texts_have_them_too(self) -> None:
        assert len(prefix_of({"instructions": "i" * 600, "input": "hello"})) == 2
        assert len(prefix_of({"input": [user("hello " * 200)]})) == 3

    def test_long_prompts_are_cut(self) -> None:
        assert len(prefix_of(chat(user("x" * (2 * BLOCK_BYTES * MAX_BLOCKS))))) == 1 + MAX_BLOCKS

    @pytest.mark.parametrize("item", [1, None, [], {}, "", {"type": "text", "text": ""}], ids=repr)
    @pytest.mark.parametrize("place", ["tools", "messages", "a message"])
    def test_no_more_is_looked_at_than_a_prefix_holds(self, item: Any, place: str) -> None:
        class Long(list[Any]):
            """Millions of one item. Looking at all of them took seconds, in which the gateway answered nobody."""

            looked_at = 0

            def __iter__(self) -> Iterator[Any]:
                for _ in range(10**7):
                    self.looked_at += 1
                    yield item

        items = Long([item])
        prefix_of({"messages": [{"role": "user", "content": items}]} if place == "a message" else {place: items})
        assert 0 < items.looked_at <= MAX_TEXTS

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        )
    )
    def test_any_json_has_a_prefix(self, value: Any) -> None:
        assert all(isinstance(one, int) for one in prefix_of({"messages": value, "tools": value}))

    def test_only_what_the_policy_needs_is_computed(self) -> None:
        headers = {"x-session-id": "Anna's session"}
        request = chat(user("hi " * 400))
        assert affinity(Routing(), headers, request) == ("", ())
        assert affinity(PREFIX, headers, request).session == ""
        session = affinity(Routing(policy="session"), headers, request).session
        assert len(session) == 32
        assert "Anna" not in session
        assert affinity(Routing(policy="session"), {}, request) == ("", ())

    def test_a_long_session_becomes_a_short_digest(self) -> None:
        assert len(affinity(Routing(policy="session"), {"x-session-id": "s" * 10_000}, {}).session) == 32


def prompt(*blocks: int, opening: int = 7) -> tuple[int, ...]:
    return (opening, *blocks)


IDLE = {"a": 0, "b": 0, "c": 0}


class TestChoice:
    def test_the_longest_known_prefix_wins(self) -> None:
        known: PrefixMap[str] = PrefixMap()
        known.learn(prompt(1, 2), "a")
        known.learn(prompt(1, 2, 3, 4), "b")
        assert known.choose(prompt(1, 2, 3, 4, 5), IDLE) == "b"
        assert known.choose(prompt(1, 2, 9), IDLE) in ("a", "b")

    def test_of_two_that_know_as_much_the_less_busy_wins(self) -> None:
        known: PrefixMap[str] = PrefixMap()
        for replica in "ab":
            known.learn(prompt(1, 2), replica)
        assert known.choose(prompt(1, 2), {"a": 0, "b": 3}) == "a"
        assert known.choose(prompt(1, 2), {"a": 3, "b": 0}) == "b"

    def test_a_replica_that_is_busier_by_too_much_is_passed_over(self) -> None:
        known: PrefixMap[str] = PrefixMap(max_imbalance=4)
        known.learn(prompt(1), "a")
        assert known.choose(prompt(1), {"a": 4, "b": 0}) == "a"
        assert known.choose(prompt(1), {"a": 5, "b": 0}) is None

    def test_a_short_common_beginning_draws_nobody(self) -> None:
        known: PrefixMap[str] = PrefixMap()
        known.learn(prompt(1, 2, opening=0), "a")
        chosen = Counter(known.choose(prompt(1, *range(10 * n, 10 * n + 9), opening=n), IDLE) for n in range(1, 200))
        assert set(chosen) == {"a", "b", "c"}

    def test_a_new_conversation_falls_to_the_same_replica_in_every_gateway(self) -> None:
        for opening in range(50):
            first, second = PrefixMap[str](), PrefixMap[str]()
            assert first.choose(prompt(1, opening=opening), IDLE) == second.choose(prompt(1, opening=opening), IDLE)

    def test_a_replica_that_goes_moves_only_its_own_conversations(self) -> None:
        known: PrefixMap[str] = PrefixMap()
        two = {"a": 0, "b": 0}
        for opening in range(200):
            before = known.choose(prompt(1, opening=opening), IDLE)
            if before != "c":
                assert known.choose(prompt(1, opening=opening), two) == before

    def test_a_replica_that_is_gone_is_not_chosen(self) -> None:
        known: PrefixMap[str] = PrefixMap()
        known.learn(prompt(1, 2), "gone")
        assert known.choose(prompt(1, 2), {"a": 0}) == "a"

    def test_a_prompt_without_a_block_is_routed_by_load(self) -> None:
        assert PrefixMap[str]().choose((), IDLE) is None
        assert PrefixMap[str]().choose(prompt(), IDLE) is None
        assert PrefixMap[str]().choose(prompt(1), {}) is None

    def test_the_memory_is_bounded_and_forgets_the_oldest(self) -> None:
        known: PrefixMap[str] = PrefixMap(remembered_blocks=100)
        for n in range(1000):
            known.learn(prompt(n), "a")
        assert len(known) == 100
        known.learn(prompt(900), "b")  # used again
        for n in range(2000, 2099):
            known.learn(prompt(n), "a")
        assert known.choose(prompt(900), {"b": 0, "a": 1}) == "b"

    @given(
        st.lists(st.tuples(st.lists(st.integers(0, 20), min_size=1, max_size=6), st.integers(0, 3)), max_size=60),
        st.dictionaries(st.integers(0, 3), st.integers(0, 40), min_size=1),
        st.lists(st.integers(0, 20), max_size=6),
    )
    def test_no_choice_is_ever_busier_than_allowed(
        self, seen: list[tuple[list[int], int]], loads: dict[int, int], asked: list[int]
    ) -> None:
        known: PrefixMap[int] = PrefixMap(max_imbalance=3, remembered_blocks=10)
        for blocks, replica in seen:
            known.learn((0, *blocks), replica)
        chosen = known.choose((0, *asked), loads)
        assert chosen is None or loads[chosen] - min(loads.values()) <= 3

    def test_two_by_chance_are_two_different_ones(self) -> None:
        assert two_of(["a"]) == ["a"]
        assert all(len(set(two_of(["a", "b", "c"]))) == 2 for _ in range(50))
