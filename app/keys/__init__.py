"""API keys: their form, what is kept of each, the file they are kept in, the check of a request, the commands."""

from app.keys.entry import Budget, KeyEntry
from app.keys.form import LOCAL_KEY, hash_key, new_key, public_id
from app.keys.ring import KeyRing

__all__ = ["LOCAL_KEY", "Budget", "KeyEntry", "KeyRing", "hash_key", "new_key", "public_id"]
