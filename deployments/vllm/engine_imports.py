"""What an engine process on CPUs needs: the server that engines are forked from imports this, and nothing else does."""

from deployments.vllm.internals.server_start import import_engine

import_engine()
