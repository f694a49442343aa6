"""What follows from what was seen. Pure: no clock, no I/O, no randomness; time comes with the frame."""
