"""Embeddings on sentence-transformers."""
