"""What this gateway has counted, as its own page of metrics has it."""

from collections import Counter
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

Outcome = tuple[int, str]  # status, 0 where none was sent; and reason


class PageCounts(NamedTuple):
    """Of one model."""

    requests: Counter[Outcome]
    whole_streams: int  # that ended well and had more than one token
    tokens: int  # of prompts and answers, as engines reported them


def counted(page: str, model: str) -> PageCounts:
    """Of the page's text. Raises ValueError where it is none."""
    requests: Counter[Outcome] = Counter()
    whole_streams = tokens = 0
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.labels.get("model") != model:
                continue
            name, value = sample.name.removeprefix("ray_").removesuffix("_total"), int(sample.value)
            if name == "portico_requests":
                requests[int(sample.labels["status"]), sample.labels["reason"]] += value
            elif name == "portico_inter_token_seconds_count":
                whole_streams += value
            elif name == "portico_tokens":
                tokens += value
    return PageCounts(requests, whole_streams, tokens)
