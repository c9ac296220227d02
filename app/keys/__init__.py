"""API keys: their form, what is kept of each, the file they are kept in, the check of a request."""

from app.keys.entry import KeyEntry
from app.keys.ring import KeyRing
from app.keys.secret import LOCAL_KEY, hash_key, new_key, public_id

__all__ = ["LOCAL_KEY", "KeyEntry", "KeyRing", "hash_key", "new_key", "public_id"]
