"""`portico stop`."""

from typing import Annotated

import typer

from app.cli.arguments import Address, Port, Status, end, refuse
from app.cli.service import found, joined


def stop(
    address: Address = None,
    port: Port = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --address: do not ask.")] = False,
) -> None:
    """Stop a service, and all that it started.

    With --address: all that is served on that cluster; its Ray goes on.

    Exit codes: 1 something was still running after 50 seconds; 3 no service runs.
    """
    from app.commands.stop import stop as stop_service

    if address is not None:
        if not yes:
            typer.confirm(f"Stop everything that is served on the Ray at {address}?", abort=True)
        with joined(address, None):
            from app.commands.running_serve import shut_down

            shut_down()
        print(f"Nothing is served any more on the Ray at {address}. Ray itself goes on.")
        end(Status.DONE)
    from rich.console import Console

    service = found(port)
    with Console(stderr=True).status(f"Stopping the service on port {service.port} ...") as shown:
        stopped = stop_service(
            service, lambda seconds: shown.update(f"Stopping the service on port {service.port}, {seconds:.0f} s ...")
        )
    if not stopped:
        refuse(
            f"The service on port {service.port} has not stopped yet. Once more, `portico stop` makes it end at once.",
            Status.NOT_RIGHT,
        )
    print(f"The service on port {service.port} has stopped.")
