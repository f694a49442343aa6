"""Nets that a student learns from: an ensemble of our own, or any DINO-family checkpoint folder. None of them ships."""
