"""Rendered worlds: sources of clips whose truth is known, each with its judge."""
