"""Counters, histograms and gauges that cost a request next to nothing: they are kept here and exported to Ray later.

A call of Ray's own takes 4 to 6 microseconds and a request makes about ten, so each would be a call on the way of an
answer. The agent of Ray's that exports them looks every ten seconds only. For one event loop.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from ray.util.metrics import Counter, Gauge, Histogram

Labels = tuple[str, ...]  # their values, in the order of the instrument's label names


class BatchedCounter:
    """A counter: one call of Ray's for each set of labels, whatever was counted since the last."""

    def __init__(self, name: str, description: str, label_names: Labels) -> None:
        self._counter = Counter(name, description, label_names)
        self._label_names = label_names
        self._sums: defaultdict[Labels, int] = defaultdict(int)

    def add(self, value: int, *labels: str) -> None:
        self._sums[labels] += value

    def export(self) -> Iterator[None]:
        """Hand everything to Ray, one call for each step. May be left and begun again: nothing is handed over twice."""
        while self._sums:
            labels, value = self._sums.popitem()
            self._counter.inc(value, _tags(self._label_names, labels))
            yield


class BatchedHistogram:
    """A histogram: Ray takes single values only, so this is a call for each, but not on the way of an answer."""

    def __init__(self, name: str, description: str, boundaries: Sequence[float], label_names: Labels) -> None:
        self._histogram = Histogram(name, description, list(boundaries), label_names)
        self._label_names = label_names
        self._values: defaultdict[Labels, list[float]] = defaultdict(list)

    def observe(self, value: float, *labels: str) -> None:
        self._values[labels].append(value)

    def export(self) -> Iterator[None]:
        for labels, values in list(self._values.items()):  # a list stays when it is empty: the next fills it again
            tags = _tags(self._label_names, labels)
            while values:
                self._histogram.observe(values.pop(), tags)
                yield


class BatchedGauge:
    """A gauge: one call of Ray's for each set of labels that was set, with its last value."""

    def __init__(self, name: str, description: str, label_names: Labels) -> None:
        self._gauge = Gauge(name, description, label_names)
        self._label_names = label_names
        self._changed: dict[Labels, float] = {}

    def set(self, value: float, *labels: str) -> None:
        self._changed[labels] = value

    def export(self) -> Iterator[None]:
        while self._changed:
            labels, value = self._changed.popitem()
            self._gauge.set(value, _tags(self._label_names, labels))
            yield


Instrument = BatchedCounter | BatchedHistogram | BatchedGauge


def _tags(names: Labels, values: Labels) -> dict[str, str]:
    return dict(zip(names, values, strict=True))
