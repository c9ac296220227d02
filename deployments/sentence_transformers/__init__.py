"""Embeddings and rerankers on sentence-transformers."""
