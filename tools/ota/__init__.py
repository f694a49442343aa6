"""A box on a desk, to be updated: for the demo, for faults, for tests."""
