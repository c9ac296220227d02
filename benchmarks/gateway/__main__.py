"""What a request and a streamed chunk cost in this gateway and in its peers, side by side on one machine.

    python -m benchmarks.gateway                                    all of it, 35 minutes: make bench-gateway
    python -m benchmarks.gateway --only portico --quick             in a minute: is a change better? Writes nothing
    python -m benchmarks.gateway --only portico litellm --scenario 1kb-16 200-chunks-8
    python -m benchmarks.gateway --real-model                       a real model, beside vLLM's own server
    python -m benchmarks.gateway --faults                           does anything get lost where requests fail?

Each system is started on loopback, put under each scenario, and ended. Rows that are not named are kept in
benchmarks/gateway.csv; the table and the plot in README.md are written from it. Peers get environments of their own in
benchmarks/.environments, made from locks/bench-*.txt.

Systems. `echo` answers a fixed text, whole or as events at a rate. It stands behind LiteLLM and vllm-router too, where
its CPU time is not counted. In `portico`, everything is real but the engine, which answers like the echo inside the
model's replica; that is counted, with the echo in it. `portico` is the production profile
(cluster/serve.env, HAProxy), `portico-local` what `portico serve` starts, each with one ingress replica.
`serve-fastapi` is Ray Serve as its documentation has it, with the two switches that make it fast, and without them.
`serve-llm` is ray.serve.llm with direct streaming: HAProxy asks a router for a replica, then talks to that. Its own
server is the echo, where vLLM's would be, and is counted.

Scenarios. `1kb-16`: bodies of 1 KB, 16 clients, each of which sends its next request when its last is answered.
`200-chunks-8`: 8 such clients, whose answers are streams of 200 chunks, 50 a second. `open`: requests arrive at random
at a mean rate, whether or not others are answered; their times count from when they were due. `idle`: nothing to do.

Columns. CPU time is user and system time of all processes of a system, by kind: gateway (or peer), model's replica,
HAProxy or Serve's proxy, and Ray's others; what idling takes is subtracted. Times are the client's. The load runs in a
process of its own, on the same cores, and is not counted. `memory_mb` is the proportional set size of the gateway's
processes afterwards. At the end this gateway must have counted, on its page of metrics, the requests that the load has
counted, or the run fails.

Faults. 32 clients send what goes well and what does not, by a seeded choice: whole answers, whole streams, streams that
the engine breaks off, streams that are left, requests that are left before the first byte, requests that are refused,
and such as the engine fails. The run fails where clients and gateway count differently, where an answer goes on in the
engine for more than a second after its client has left or is not ended at all, where a slot of the key or a place of
the model is not free afterwards, or where the key was charged other tokens than the usages and reservations say: the
rate-limit headers show that to a few tokens, and a settlement that is lost is at least fifteen.
benchmarks/gateway_faults.csv has the counts, and the longest time from a client's close to the end in the engine.
"""

import argparse
import signal
import sys

from benchmarks.gateway import figures, real_model
from benchmarks.gateway.faults import run as faults
from benchmarks.gateway.measuring import Measured, Running
from benchmarks.gateway.scenarios import FIRST_LOOK, SCENARIOS, Scenario
from benchmarks.gateway.systems import SYSTEMS

QUICK_SECONDS = 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*SYSTEMS], default=[*SYSTEMS], metavar="SYSTEM")
    parser.add_argument("--scenario", nargs="+", choices=[*SCENARIOS], metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--seconds", type=float, help="measured of each scenario; 3600 shows whether memory grows")
    parser.add_argument("--quick", action="store_true", help=f"{' and '.join(FIRST_LOOK)}, briefly; writes nothing")
    parser.add_argument(
        "--real-model", nargs="*", choices=[*real_model.SERVERS], metavar="SERVER", help=str(real_model.__doc__)
    )
    parser.add_argument("--faults", action="store_true", help=faults.measure.__doc__)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started ends, too
    if options.real_model is not None:
        real_model.measure(options.real_model or [*real_model.SERVERS])
        return
    if options.faults:
        faults.measure()
        return
    names = options.scenario or (FIRST_LOOK if options.quick else [*SCENARIOS])
    seconds = options.seconds or (QUICK_SECONDS if options.quick else None)
    scenarios = [one._replace(seconds=seconds or one.seconds) for one in map(SCENARIOS.__getitem__, names)]
    for name in options.only:
        rows = measured(name, scenarios)
        if not options.quick:
            figures.write(rows)


def measured(name: str, scenarios: list[Scenario]) -> list[Measured]:
    """The rows of one system. Raises RuntimeError where it has counted other requests than were sent."""
    rows = []
    with SYSTEMS[name].start() as system:
        running = Running(name, system)
        for row in (running.idle(), *map(running.under, scenarios)):
            print(figures.shown(row), flush=True)
            rows.append(row)
        if SYSTEMS[name].is_ours:
            running.check_counts()
    return rows


if __name__ == "__main__":
    main()
