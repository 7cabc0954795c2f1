"""Parts of the engine for OpenAI-compatible endpoints: HTTP, parameters of each dialect, reading of answers."""
