"""What the commands on a running service share: which one is meant, and being a driver of its Ray."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from app.cli.arguments import Status, refuse

if TYPE_CHECKING:
    from app.commands.service_client import ServiceClient
    from app.commands.services import LocalService


def found(port: int | None) -> "LocalService":
    """The service of this machine that is meant. Ends the command where there is none."""
    from app.commands.services import NoService, the_service

    try:
        return the_service(port)
    except NoService as error:
        refuse(error, Status.NO_SERVICE)


@contextmanager
def joined(address: str | None, port: int | None) -> Iterator["LocalService | None"]:
    """This process is a driver of the Ray at an address, or of the service's own, which is given back.

    Ends the command where there is none.
    """
    from app.commands import running_serve
    from app.commands.services import NoService

    service = None if address else found(port)
    try:
        with running_serve.joined(address or (service.address() if service else "")):
            yield service
    except NoService as error:
        refuse(error, Status.NO_SERVICE)


@contextmanager
def asked(base_url: str | None, api_key: str | None) -> Iterator["ServiceClient"]:
    """A client of the service at a base URL, or of the one of this machine. Ends the command where it refuses."""
    from app.commands.service_client import Refused, client_of
    from app.commands.services import NoService

    try:
        yield client_of(base_url, api_key)
    except NoService as error:
        refuse(error, Status.NO_SERVICE)
    except Refused as error:
        refuse(f"The service answers {error.status}: {error}", Status.NOT_RIGHT)
