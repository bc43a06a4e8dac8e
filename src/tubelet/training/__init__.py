"""What runs for hours: one loop for codec and denoiser."""
