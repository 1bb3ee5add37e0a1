"""What generates: vLLM, transformers or a server."""
