"""What runs: the models of a service, how far each is, and its replicas."""

from dataclasses import asdict, dataclass
from typing import Any

from app.commands import running_serve

FAILED = frozenset({"DEPLOY_FAILED", "UNHEALTHY"})
ASLEEP, READY, FAILED_STATE, STARTING, UPDATING = "asleep", "ready", "failed", "starting", "updating"
GOOD = frozenset({READY, ASLEEP})


@dataclass(frozen=True)
class DeploymentState:
    """A model, or the gateway in front of them."""

    application: str
    name: str
    state: str
    running: int  # replicas that take requests
    starting: int
    message: str  # why it failed, or what it waits for

    def as_data(self) -> dict[str, Any]:
        return asdict(self)


def states() -> list[DeploymentState]:
    """Of every deployment on the Ray that this process has joined."""
    from app.upstream.serve_message import error_of  # noqa: PLC0415 - it imports Ray, which `joined` prepares

    found = []
    for name, application in running_serve.applications().items():
        if not application.deployments:
            state = FAILED_STATE if application.status in FAILED else STARTING
            found.append(DeploymentState(name, "(all)", state, 0, 0, error_of(application)))
        found += [_state(name, model, one) for model, one in application.deployments.items()]
    return found


def _state(application: str, name: str, deployment: Any) -> DeploymentState:
    from app.upstream.readiness import SETTLED, running_of  # noqa: PLC0415 - as above
    from app.upstream.serve_message import error_of  # noqa: PLC0415 - as above

    running = running_of(deployment)
    if deployment.status in FAILED:
        state = FAILED_STATE
    elif deployment.status in SETTLED:
        state = READY if running else ASLEEP
    else:
        state = UPDATING if running else STARTING
    message = "" if state in GOOD else error_of(deployment)
    starting = int(deployment.replica_states.get("STARTING", 0))
    return DeploymentState(application, name, state, running, starting, message)
