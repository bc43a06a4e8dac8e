"""What generates: prompts in, videos out."""
