"""Pictures of the world in depth: analytic ray casting in numpy, one ray a pixel, edges by covered share."""

from tubelet.worlds.depth.render.draw import render

__all__ = ["render"]
