"""The denoiser: a diffusion transformer over space-time tubelets."""
