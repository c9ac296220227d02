"""The LoRA adapter of a request on its way: it comes with the head, and counts where prefixes choose the replica."""

from app.config.routing import Routing
from app.upstream.affinity import affinity
from contract.frames import parse_request_head, request_head
from contract.protocol import Adapter, RequestHead
from tests.unit.conftest import chat


def test_the_adapter_comes_with_the_head() -> None:
    for adapter in (None, Adapter("pirate", "/adapters/pirate"), Adapter("poet", "someone/poet", "0" * 40)):
        head = RequestHead("/v1/responses", "id", include_usage=False, echo={}, adapter=adapter)
        assert parse_request_head(request_head(head)).adapter == adapter


def test_prompts_of_two_adapters_are_not_the_same_prefix() -> None:
    routing, request = Routing(policy="prefix"), chat(messages=[{"role": "user", "content": "x" * 2000}])
    prefixes = [affinity(routing, {}, request, name).prefix for name in ("", "pirate", "poet")]
    assert len(set(prefixes)) == 3
    assert len({prefix[-1] for prefix in prefixes}) == 3
