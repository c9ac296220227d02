"""One model's places in a gateway replica, and the requests that wait for one: shared fairly over keys."""

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from contract.errors import ApiError

PRESENT_SECONDS = 5.0  # after its last request a key still counts as present: one a second finds a place free
RATE_SAMPLES = 100  # completions over which their rate is taken
MAX_RETRY_AFTER = 60

Waiter = asyncio.Future[None]


class QueueTimeout(ApiError):
    """A request waited for a place until its time was over, so no engine has seen it."""

    def __init__(self, seconds: float) -> None:
        super().__init__("timeout", f"The model was busy with other requests for {seconds:g} s. Retry after a pause.")


@dataclass(eq=False)
class _Key:
    """What one key has of a queue."""

    weight: int = 1
    in_use: int = 0  # places
    turn: float = 0.0  # virtual time before which its next request does not begin: the last one's, and 1 / weight
    left: float = -math.inf  # when it last gave a place back
    waiting: OrderedDict[Waiter, int] = field(default_factory=OrderedDict)  # oldest first; each with its number


class Place:
    """The right to have one request with the model's replicas. `release` may be called more than once."""

    def __init__(self, release: Callable[[], None], waited_s: float) -> None:
        self.waited_s = waited_s
        self._release: Callable[[], None] | None = release

    def release(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()


class FairQueue:
    """Gives out places, and lets requests wait for one.

    The next place goes to the waiting key that uses the fewest for its weight; among equals, to the one whose turn is
    first (start-time fair queueing). A key that uses its share gets no more while another is present that uses less.
    Where too many wait, the newest request of the key with the most waiting for its weight is refused.

    For one event loop. A step costs a look at each key that is present.
    """

    def __init__(
        self,
        report_waiting: Callable[[int], None],
        report_refusal: Callable[[], None],
        present_s: float = PRESENT_SECONDS,
    ) -> None:
        """`report_waiting` is called with the number of waiting requests when it has changed."""
        self.waiting = 0  # requests
        self.in_use = 0  # places
        self._report_waiting, self._report_refusal = report_waiting, report_refusal
        self._reported = 0
        self._present_s = present_s
        self._places = self._max_waiting = self._share = 1
        self._keys: dict[str, _Key] = {}
        self._queued: dict[_Key, None] = {}  # those with requests that wait
        self._arrivals = 0
        self._turn = 0.0  # of the request that got the last place
        self._ends: deque[float] = deque(maxlen=RATE_SAMPLES)  # when places were last all free, and completions since
        self._timer: asyncio.TimerHandle | None = None

    def resize(self, places: int, max_waiting: int, share: float) -> None:
        """From now on there are `places`, of which a key gets at most `share` where others are present."""
        self._places, self._max_waiting = places, max_waiting
        self._share = max(1, math.floor(share * places + 1e-9))
        self._give_out()

    async def take(self, key_id: str, weight: int, timeout_s: float) -> Place:
        """Wait for a place. Raises ApiError: `overloaded` where too many wait, `timeout`."""
        began = _now()
        if not self.in_use:
            self._ends.clear()
            self._ends.append(began)
        key = self._keys.setdefault(key_id, _Key())
        key.weight = weight
        if not self.waiting and self.in_use < self._places and key.in_use < self._share:
            self._give(key)
        else:
            await self._wait(key, timeout_s)
        return Place(lambda: self._release(key), _now() - began)

    async def _wait(self, key: _Key, timeout_s: float) -> None:
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._arrivals += 1
        key.waiting[waiter] = self._arrivals
        self._queued[key] = None
        self.waiting += 1
        self._give_out()
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            self._leave(key, waiter)
            raise QueueTimeout(timeout_s) from None
        except BaseException:
            self._leave(key, waiter)
            raise

    def _leave(self, key: _Key, waiter: Waiter) -> None:
        """Forget a request that waits no more. A place that it was given in the same moment goes back."""
        if key.waiting.pop(waiter, None) is not None:
            self._one_less(key)
            self._report()
        elif not waiter.cancelled() and waiter.exception() is None:
            self._release(key)

    def _pop(self, key: _Key, *, newest: bool = False) -> Waiter:
        waiter, _ = key.waiting.popitem(last=newest)
        self._one_less(key)
        return waiter

    def _one_less(self, key: _Key) -> None:
        self.waiting -= 1
        if not key.waiting:
            del self._queued[key]

    def _release(self, key: _Key) -> None:
        key.in_use -= 1
        self.in_use -= 1
        key.left = _now()
        self._ends.append(key.left)
        self._give_out()

    def _give_out(self) -> None:
        """Give free places to those who wait, and refuse those who are too many."""
        while self.waiting and self.in_use < self._places and (key := self._next()) is not None:
            waiter = self._pop(key)
            if not waiter.done():  # else its client has left, and it is about to learn so
                self._give(key)
                waiter.set_result(None)
        while self.waiting > self._max_waiting:
            self._refuse_one()
        self._report()

    def _give(self, key: _Key) -> None:
        self._turn = max(self._turn, key.turn)
        key.turn = self._turn + 1 / key.weight
        key.in_use += 1
        self.in_use += 1

    def _next(self) -> _Key | None:
        """Whose request is next; None where what is free is kept for keys that use less than their share."""
        able = [key for key in self._queued if key.in_use < self._share]
        if not able and (others := self._present_below_share()):
            self._look_again(others)
            return None
        return min(able or self._queued, key=self._rank)

    def _rank(self, key: _Key) -> tuple[float, float, int]:
        oldest = next(iter(key.waiting.values()))
        return key.in_use / key.weight, max(self._turn, key.turn), oldest

    def _present_below_share(self) -> list[_Key]:
        """Forgets those who are absent."""
        since = _now() - self._present_s
        self._keys = {name: key for name, key in self._keys.items() if key.in_use or key.waiting or key.left > since}
        return [key for key in self._keys.values() if key.in_use < self._share]

    def _look_again(self, kept_for: list[_Key]) -> None:
        """Give out when the first of those whom places are kept for is absent. One that uses a place gives it back."""
        ends = [key.left + self._present_s for key in kept_for if not key.in_use]
        if ends and self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(min(ends), self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._give_out()

    def _refuse_one(self) -> None:
        """Refuse the newest request of the key with the most waiting for its weight; among equals, the newest."""
        most = max(self._queued, key=lambda key: (len(key.waiting) / key.weight, next(reversed(key.waiting.values()))))
        waiter = self._pop(most, newest=True)
        if not waiter.done():
            message = "Every replica of this model is busy and its queue is full. Retry after a pause."
            waiter.set_exception(ApiError("overloaded", message, retry_after=self._retry_after()))
            self._report_refusal()

    def _retry_after(self) -> int | None:
        """Seconds in which as many requests end as wait now; None where none has ended yet."""
        if len(self._ends) < 2:
            return None
        seconds_each = (_now() - self._ends[0]) / (len(self._ends) - 1)
        return max(1, min(math.ceil(seconds_each * self.waiting), MAX_RETRY_AFTER))

    def _report(self) -> None:
        if self._reported != self.waiting:
            self._reported = self.waiting
            self._report_waiting(self.waiting)


def _now() -> float:
    return asyncio.get_running_loop().time()
