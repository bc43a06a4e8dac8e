"""Prompts to token states: tokenizer.py, bert.py, encoder.py."""
