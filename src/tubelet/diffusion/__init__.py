"""The mathematics of diffusion; it knows tensors only and never imports a network."""
