"""Measures of generated videos: what they show, held against what was asked for."""
