"""Fair queues: who gets the next place at a model, who is refused where too many wait, and that no place is lost."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.upstream.fair_queue import FairQueue, Place
from contract.errors import ApiError

LONG = 60.0


class World:
    """A queue, the requests that were sent to it in their order, and what it reported."""

    def __init__(self, places: int, max_waiting: int = 1000, share: float = 1.0, present_s: float = 0.0) -> None:
        self.reported: list[int] = []
        self.refusals = 0
        self.queue = FairQueue(self.reported.append, self._count_refusal, present_s)
        self.queue.resize(places, max_waiting, share)
        self.requests: list[asyncio.Task[Place | ApiError]] = []
        self.begun: list[str] = []  # the keys of those that got a place, in that order

    def _count_refusal(self) -> None:
        self.refusals += 1

    async def send(self, key: str, number: int = 1, weight: int = 1, timeout_s: float = LONG) -> None:
        """Send requests of a key, and let the loop turn."""
        self.requests += [asyncio.create_task(self._send(key, weight, timeout_s), name=key) for _ in range(number)]
        await turns()

    async def _send(self, key: str, weight: int, timeout_s: float) -> Place | ApiError:
        try:
            place = await self.queue.take(key, weight, timeout_s)
        except ApiError as error:
            return error
        self.begun.append(key)
        return place

    def under_way(self, key: str | None = None) -> list[asyncio.Task[Place | ApiError]]:
        """The requests that have a place."""
        return [one for one in self.requests if key in (None, one.get_name()) and isinstance(result(one), Place)]

    def waiting(self, key: str | None = None) -> list[asyncio.Task[Place | ApiError]]:
        return [one for one in self.requests if not one.done() and key in (None, one.get_name())]

    def refused(self, key: str) -> list[ApiError]:
        results = [result(one) for one in self.requests if one.get_name() == key]
        return [one for one in results if isinstance(one, ApiError)]

    def has(self) -> Counter[str]:
        """How many places each key uses."""
        return Counter(one.get_name() for one in self.under_way())

    async def end(self, key: str | None = None, number: int = 1) -> None:
        """Let the oldest requests under way end, one after the other."""
        for _ in range(number):
            self.release(self.under_way(key)[0])
            await turns()

    def release(self, one: asyncio.Task[Place | ApiError]) -> None:
        """End a request; the loop does not turn."""
        self.requests.remove(one)
        place = one.result()
        assert isinstance(place, Place)
        place.release()

    async def end_all(self) -> None:
        while self.under_way():
            await self.end()


def result(request: asyncio.Task[Place | ApiError]) -> Place | ApiError | None:
    return request.result() if request.done() and not request.cancelled() else None


async def turns(number: int = 4) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


class TestPlaces:
    async def test_a_lone_key_may_use_all(self) -> None:
        world = World(4, share=0.5, present_s=LONG)
        await world.send("a", 6)
        assert world.has() == {"a": 4}
        await world.end()
        assert world.has() == {"a": 4}

    async def test_what_waits_of_one_key_begins_in_the_order_in_which_it_came(self) -> None:
        world = World(1)
        await world.send("a", 3)
        _, second, third = world.requests
        await world.end()
        assert (second.done(), third.done()) == (True, False)

    async def test_more_places_are_given_out_at_once_and_fewer_as_requests_end(self) -> None:
        world = World(1)
        await world.send("a", 5)
        world.queue.resize(3, 1000, 1.0)
        await turns()
        assert world.has() == {"a": 3}
        world.queue.resize(1, 1000, 1.0)
        await world.end(number=2)
        assert (world.has(), len(world.waiting())) == ({"a": 1}, 2)
        await world.end()
        assert world.has() == {"a": 1}

    async def test_a_place_that_is_given_back_twice_is_one_place(self) -> None:
        world = World(2)
        await world.send("a", 2)
        place = world.requests[0].result()
        assert isinstance(place, Place)
        place.release()
        place.release()
        assert world.queue.in_use == 1

    async def test_the_time_in_the_queue_is_known(self) -> None:
        world = World(1)
        await world.send("a", 2)
        await asyncio.sleep(0.05)
        await world.end()
        place = world.requests[0].result()
        assert isinstance(place, Place)
        assert place.waited_s >= 0.05

    async def test_how_many_wait_is_reported(self) -> None:
        world = World(1)
        await world.send("a", 3)
        await world.end_all()
        assert world.reported == [1, 2, 1, 0]


class TestFairness:
    async def test_the_key_that_uses_fewest_places_is_next(self) -> None:
        world = World(4)
        await world.send("a", 80)
        await world.send("b")
        await world.end("a")
        assert world.has() == {"a": 3, "b": 1}

    async def test_of_a_single_place_keys_take_turns_whoever_came_first(self) -> None:
        world = World(1)
        await world.send("a", 20)
        await world.send("b", 2)
        await world.send("c", 1)
        await world.end(number=6)
        assert "".join(world.begun[:6]) == "abcaba" or "".join(world.begun[:6]) == "abcbaa"

    async def test_a_key_gains_nothing_by_having_been_away(self) -> None:
        world = World(1)
        await world.send("a", 20)
        await world.end(number=10)
        await world.send("b", 10)
        await world.end(number=6)
        assert Counter(world.begun[-6:]) == {"a": 3, "b": 3}

    async def test_a_weight_is_a_part_of_the_places(self) -> None:
        world = World(8)
        await world.send("a", 100, weight=3)
        await world.send("b", 100, weight=1)
        await world.end("a", 20)
        assert world.has() == {"a": 6, "b": 2}

    async def test_a_weight_is_a_part_of_the_turns_at_a_single_place(self) -> None:
        world = World(1)
        await world.send("a", 100, weight=3)
        await world.send("b", 100, weight=1)
        await world.end(number=16)
        assert Counter(world.begun[1:]) == {"a": 12, "b": 4}


class TestShare:
    async def test_a_key_that_has_its_share_waits_while_another_is_present(self) -> None:
        world = World(4, share=0.5, present_s=LONG)
        await world.send("b")
        await world.end("b")
        await world.send("a", 10)
        assert world.has() == {"a": 2}
        await world.send("b", 2)
        assert world.has() == {"a": 2, "b": 2}

    async def test_once_the_other_is_absent_all_is_given_out(self) -> None:
        world = World(4, share=0.5, present_s=0.05)
        await world.send("b")
        await world.end("b")
        await world.send("a", 10)
        assert world.has() == {"a": 2}
        await asyncio.sleep(0.1)  # nothing else happens
        assert world.has() == {"a": 4}

    async def test_and_where_the_other_still_has_a_place_once_that_comes_back(self) -> None:
        world = World(4, share=0.5)
        await world.send("b")
        await world.send("a", 10)
        assert world.has() == {"a": 2, "b": 1}
        await world.end("b")
        assert world.has() == {"a": 4}

    async def test_where_all_have_their_share_nothing_stays_free(self) -> None:
        world = World(5, share=0.4)
        await world.send("a", 10)
        await world.send("b", 10)
        await world.end("a", 3)
        assert world.has() == {"a": 3, "b": 2} or world.has() == {"a": 2, "b": 3}

    async def test_a_share_is_never_less_than_a_place(self) -> None:
        world = World(1, share=0.1, present_s=LONG)
        await world.send("b")
        await world.end("b")
        await world.send("a")
        assert world.has() == {"a": 1}

    async def test_a_share_of_one_keeps_nothing_free(self) -> None:
        world = World(4, share=1.0, present_s=LONG)
        await world.send("b")
        await world.end("b")
        await world.send("a", 10)
        assert world.has() == {"a": 4}


class TestRefusal:
    async def test_a_lone_key_s_newest_is_refused(self) -> None:
        world = World(1, max_waiting=2)
        await world.send("a", 4)
        assert len(world.waiting()) == 2
        error = result(world.requests[3])
        assert isinstance(error, ApiError)
        assert (error.code, error.status, world.refusals) == ("overloaded", 503, 1)

    async def test_in_a_full_queue_a_quiet_key_takes_the_place_of_the_newest_of_the_loudest(self) -> None:
        world = World(1, max_waiting=4)
        await world.send("a", 5)
        newest = world.requests[-1]
        await world.send("b")
        assert world.refused("b") == []
        assert isinstance(result(newest), ApiError)
        await world.send("a", 1)
        assert world.refused("b") == []
        assert (len(world.waiting("a")), len(world.waiting("b"))) == (3, 1)

    async def test_a_full_queue_is_shared_by_weight(self) -> None:
        world = World(1, max_waiting=12)
        await world.send("a", 30, weight=1)
        await world.send("b", 30, weight=3)
        assert (len(world.waiting("a")), len(world.waiting("b"))) == (3, 9)

    async def test_retry_after_is_the_time_in_which_as_many_end_as_wait(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 1000.0
        monkeypatch.setattr("app.upstream.fair_queue._now", lambda: now)
        world = World(1, max_waiting=40)
        await world.send("a", 42)
        for _ in range(4):
            now += 0.3
            await world.end()
            await world.send("a")
        await world.send("a")
        assert world.refused("a")[0].retry_after == 5, "nothing had ended"
        assert world.refused("a")[-1].retry_after == 12  # 40 x 0.3 s
        now += 3600  # nothing ends any more
        await world.send("a")
        assert world.refused("a")[-1].retry_after == 60

    async def test_retry_after_does_not_count_the_time_without_requests(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 1000.0
        monkeypatch.setattr("app.upstream.fair_queue._now", lambda: now)
        world = World(1, max_waiting=5)
        await world.send("a")
        await world.end_all()
        now += 3600
        await world.send("a", 6)
        now += 1
        await world.end()
        await world.send("a", 2)
        assert world.refused("a")[-1].retry_after == 5


class TestNoPlaceIsLost:
    async def test_a_client_that_leaves_waits_no_more(self) -> None:
        world = World(1)
        await world.send("a", 3)
        gone = world.requests[1]
        gone.cancel()
        await turns()
        assert world.queue.waiting == 1
        await world.end()
        assert world.requests[-1].done()

    async def test_a_client_that_leaves_in_the_moment_it_gets_a_place_gives_it_back(self) -> None:
        world = World(1)
        await world.send("a", 3)
        first, second, third = world.requests
        world.release(first)  # the second has it now, and does not know yet
        second.cancel()
        await turns()
        assert second.cancelled()
        world.release(third)
        assert (world.queue.in_use, world.queue.waiting) == (0, 0)

    async def test_a_client_that_left_unseen_is_passed_over(self) -> None:
        world = World(1)
        await world.send("a", 3)
        first, second, third = world.requests
        second.cancel()
        world.release(first)  # before the loop turns
        await turns()
        assert third.done()

    async def test_a_wait_has_an_end(self) -> None:
        world = World(1)
        await world.send("a")
        await world.send("b", timeout_s=0.02)
        await asyncio.sleep(0.05)
        (error,) = world.refused("b")
        assert (error.code, error.status, world.queue.waiting) == ("timeout", 504, 0)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "send", "end", "end", "cancel", "cancel and end", "resize"]),
        st.integers(0, 9),
    ),
    max_size=60,
)
WEIGHTS = {"a": 1, "b": 1, "c": 4}


@settings(max_examples=200, deadline=None)
@given(places=st.integers(1, 5), max_waiting=st.integers(1, 8), share=st.sampled_from([0.3, 0.5, 1.0]), steps=STEPS)
def test_whatever_happens_places_are_bounded_and_none_is_lost_or_left_free(
    places: int, max_waiting: int, share: float, steps: list[tuple[str, int]]
) -> None:
    asyncio.run(drive(World(places, max_waiting, share), places, max_waiting, share, steps))


async def drive(world: World, places: int, max_waiting: int, share: float, steps: list[tuple[str, int]]) -> None:
    allowed = places
    for action, number in steps:
        if action == "send":
            key = "abc"[number % 3]
            await world.send(key, weight=WEIGHTS[key])
        elif action == "resize":
            places = 1 + number % 5
            world.queue.resize(places, max_waiting, share)
        if "cancel" in action and (waiting := world.waiting()):
            waiting[number % len(waiting)].cancel()
        if "end" in action and (under_way := world.under_way()):
            world.release(under_way[number % len(under_way)])
        await turns()
        has, waiting = world.has(), world.waiting()
        allowed = max(places, min(allowed, sum(has.values())))  # what was begun before there were fewer places goes on
        assert sum(has.values()) == world.queue.in_use <= allowed
        assert len(waiting) == world.queue.waiting <= max_waiting
        if waiting and world.queue.in_use < places:
            cap = max(1, int(share * places + 1e-9))
            assert all(has[one.get_name()] >= cap for one in waiting), "a place was free for one that waited"
            assert any(number < cap for number in has.values()), "a place was free for all"
    while world.under_way():
        await world.end()
    assert (world.queue.in_use, world.queue.waiting) == (0, 0), "somebody waits for ever"


@settings(max_examples=50, deadline=None)
@given(places=st.integers(1, 6), backlog=st.integers(1, 60), others=st.integers(1, 4))
def test_a_quiet_key_waits_for_no_more_ends_than_there_are_other_keys(places: int, backlog: int, others: int) -> None:
    async def flood() -> None:
        world = World(places, share=0.5)
        for number in range(others):
            await world.send(f"a{number}", backlog)
        await world.send("b")
        ends = 0
        while not world.under_way("b"):
            await world.end()
            ends += 1
        assert ends <= others

    asyncio.run(flood())
