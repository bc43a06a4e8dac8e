"""What a clip of the world in depth shows, read from its pixels alone, to be held against what was asked for."""
