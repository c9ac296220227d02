"""A leaky bucket in whole numbers: nothing is rounded, so nothing drifts. Time is given, never read."""

MINUTE = 60 * 10**9  # nanoseconds
BURST_SHARE = 10  # a tenth of the limit may be used at once


def burst_of(per_minute: int) -> int:
    """What a full bucket holds: 10 % of the limit, at least one."""
    return max(1, per_minute // BURST_SHARE)


class Bucket:
    """Holds up to `burst` units and gains `per_minute` units a minute. All times are nanoseconds of one clock.

    The level is kept in units times MINUTE: then a nanosecond gains exactly `per_minute`.
    """

    __slots__ = ("_at", "_level", "burst", "per_minute")

    def __init__(self, per_minute: int, now: int, *, level: int | None = None, burst: int | None = None) -> None:
        """`level` is in units, and full where it is left out; below zero it is a debt."""
        self.per_minute = per_minute
        self.burst = burst_of(per_minute) if burst is None else burst
        self._level = MINUTE * (self.burst if level is None else level)
        self._at = now

    def take(self, amount: int, now: int) -> bool:
        """Take `amount` units, or nothing. What the bucket can never hold is taken from a full one, as a debt."""
        self._gain(now)
        if self._level < min(amount, self.burst) * MINUTE:
            return False
        self._level -= amount * MINUTE
        return True

    def wait(self, amount: int, now: int) -> int:
        """Nanoseconds until `amount` could be taken; zero where it can be now."""
        self._gain(now)
        missing = min(amount, self.burst) * MINUTE - self._level
        return max(0, -(-missing // self.per_minute))

    def give(self, amount: int, now: int) -> None:
        """Put `amount` units back; a negative amount is charged, as a debt if need be."""
        self._gain(now)
        self._level = min(self.burst * MINUTE, self._level + amount * MINUTE)

    def defer(self, time: int) -> None:
        """Charge exactly what `time` nanoseconds gain."""
        self._level -= self.per_minute * time

    def is_overdrawn(self) -> bool:
        """Whether it was in debt when it was last used."""
        return self._level < 0

    def whole(self, now: int) -> int:
        """Whole units that are there; below zero in debt."""
        self._gain(now)
        return self._level // MINUTE

    def full_in(self, now: int) -> int:
        """Nanoseconds until it is full."""
        self._gain(now)
        return -(-(self.burst * MINUTE - self._level) // self.per_minute)

    def resize(self, per_minute: int, now: int) -> None:
        """Go on with another limit."""
        self._gain(now)
        self.per_minute, self.burst = per_minute, burst_of(per_minute)
        self._level = min(self._level, self.burst * MINUTE)

    def _gain(self, now: int) -> None:
        if now > self._at:
            self._level = min(self.burst * MINUTE, self._level + self.per_minute * (now - self._at))
            self._at = now
