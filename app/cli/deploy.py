"""`portico deploy FILE`."""

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.arguments import Address, Port, ServeFile, Status, end
from app.cli.service import joined

if TYPE_CHECKING:
    from app.commands.status import DeploymentState


def deploy(
    file: ServeFile,
    address: Address = None,
    port: Port = None,
    wait: Annotated[bool, typer.Option(help="Wait until every model is up, or has failed.")] = True,
) -> None:
    """Update a running service to what a config file says. Models whose entries are the same go on.

    Exit codes: 1 a model failed; 2 the file is wrong, and nothing was changed; 3 no service runs.
    """
    from dataclasses import replace

    from rich.console import Console

    console = Console(stderr=True)
    with joined(address, port) as service:
        from app.commands.deploy import deploy as deploy_file
        from app.commands.deploy import wait_until_up

        names = deploy_file(file)
        if service is not None:
            replace(service, config=str(file.absolute())).write_down()
        if not wait:
            print(f"{file} is handed over. `portico status` shows how far it is.")
            end(Status.DONE)
        last: list[DeploymentState] = []
        with console.status("Updating ...") as shown:

            def show(states: "list[DeploymentState]") -> None:
                last[:] = states
                waits = [f"{one.name} is {one.state}" for one in states if one.state not in ("ready", "asleep")]
                shown.update("; ".join(waits) or "Updating ...")

            up = wait_until_up(names, show)
    from app.cli.status import table

    Console().print(table(last))
    print(f"{file} is served." if up else f"Not every model of {file} is up.")
    end(Status.DONE if up else Status.NOT_RIGHT)
