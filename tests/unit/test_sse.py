"""Server-sent events: written whole, and split however they were cut."""

import pytest

from contract.sse import DONE, PING, Splitter, event


def test_an_event_is_its_kind_its_data_and_a_blank_line() -> None:
    assert event({"a": [1, None]}) == b'data: {"a":[1,null]}\n\n'
    assert event({"type": "x.done"}, "x.done") == b'event: x.done\ndata: {"type":"x.done"}\n\n'
    assert event(b'{"as":"it is"}') == b'data: {"as":"it is"}\n\n'


def test_a_line_break_in_a_text_ends_no_event() -> None:
    assert event({"text": "a\n\nb"}).count(b"\n\n") == 1


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_come_whole_wherever_the_stream_is_cut(size: int) -> None:
    events = [event({"n": 1}), PING, event({"n": 2}, "two"), DONE]
    stream, splitter = b"".join(events), Splitter()
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert [one for piece in pieces for one in splitter.feed(piece)] == events


def test_an_event_that_was_cut_off_never_comes() -> None:
    assert Splitter().feed(event("whole") + b"data: ha") == [event("whole")]
