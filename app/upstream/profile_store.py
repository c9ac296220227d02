"""Where the gateway's replicas keep the profiles of models, so that none has to wake a model for its description."""

from typing import Any, Protocol

import orjson

from app.background.thread_calls import ThreadCalls
from contract import cluster_store

CALL_SECONDS = 10.0


class ProfileStore(Protocol):
    """What models can do, as plain data, each under the identity of what its replicas run."""

    async def get(self, model_id: str, identity: str) -> dict[str, Any] | None: ...

    async def put(self, model_id: str, identity: str, profile: dict[str, Any]) -> None:
        """Keep a profile in place of any other of this model."""
        ...


class ClusterProfiles:
    """The profiles of one application, kept as long as the cluster lives."""

    def __init__(self, app_name: str) -> None:
        self._app_name = app_name
        self._calls = ThreadCalls("the store of profiles", CALL_SECONDS)

    async def get(self, model_id: str, identity: str) -> dict[str, Any] | None:
        return await self._calls.call(_get, self._key(model_id), identity)

    async def put(self, model_id: str, identity: str, profile: dict[str, Any]) -> None:
        content = orjson.dumps({"identity": identity, "profile": profile}, default=sorted)  # sets become lists
        await self._calls.call(cluster_store.put, self._key(model_id), content)

    def _key(self, model_id: str) -> str:
        return f"profile:{self._app_name}:{model_id}"


def _get(key: str, identity: str) -> dict[str, Any] | None:
    content = cluster_store.get(key)
    kept: dict[str, Any] = orjson.loads(content) if content else {}
    profile: dict[str, Any] | None = kept.get("profile")
    return profile if kept.get("identity") == identity else None
