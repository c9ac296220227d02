"""Ray's own key-value store, in the cluster's control service. The one file that knows it: its interface is internal.

Each call blocks, for milliseconds as long as that service answers.
"""

from ray.experimental import internal_kv

NAMESPACE = "portico"


def get(key: str) -> bytes | None:
    content: bytes | None = internal_kv._internal_kv_get(key, namespace=NAMESPACE)
    return content


def put(key: str, content: bytes) -> None:
    """Keep `content` in place of what is there, as long as the cluster lives."""
    internal_kv._internal_kv_put(key, content, overwrite=True, namespace=NAMESPACE)
