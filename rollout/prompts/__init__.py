"""Prompt building and parsing: prompt styles, chat templates, tokenizers."""
