"""Door 2: video to latents and back, causal in time."""
