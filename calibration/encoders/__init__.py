"""Encoders that a student net can stand on, one file each, with their published weights' layout."""
