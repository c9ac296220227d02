"""What a request and a chunk cost in this gateway and in its peers: python -m benchmarks.gateway [--only SYSTEM ...]"""

import argparse

from benchmarks.gateway.measuring import Measured, Running
from benchmarks.gateway.scenarios import SCENARIOS, Scenario
from benchmarks.gateway.systems import OURS, SYSTEMS

QUICK_SECONDS = 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*SYSTEMS], default=[*SYSTEMS], metavar="SYSTEM")
    parser.add_argument("--scenario", nargs="+", choices=[*SCENARIOS], default=[*SCENARIOS], metavar="SCENARIO")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    scenarios = [SCENARIOS[name] for name in options.scenario]
    if options.quick:
        scenarios = [scenario._replace(seconds=min(scenario.seconds, QUICK_SECONDS)) for scenario in scenarios]
    for name in options.only:
        for row in measure(name, scenarios):
            print(shown(row), flush=True)


def measure(name: str, scenarios: list[Scenario]) -> list[Measured]:
    with SYSTEMS[name]() as system:
        running = Running(name, system)
        print(
            name,
            "idle",
            {k: round(v / running.idle.at, 3) for k, v in running.idle.cpu.items()},
            running.idle_memory_mb,
        )
        rows = [running.measured(scenario) for scenario in scenarios]
        if name in OURS:
            running.check_counts()
    return rows


def shown(row: Measured) -> str:
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in row._asdict().items()
    )


if __name__ == "__main__":
    main()
