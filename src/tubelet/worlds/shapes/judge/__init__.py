"""What a clip of the flat world shows, read from its pixels alone, to be held against what was asked for."""
