"""What an engine process on CPUs needs: the server that engines are forked from imports this, and nothing else does."""

from deployments.vllm.internals.imports import import_engine

import_engine()
