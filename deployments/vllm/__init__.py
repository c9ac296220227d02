"""Language models on vLLM: chat, responses, embeddings, rerankers."""
