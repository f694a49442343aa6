"""Key frames and clips of what was found: out of the ring of stills, into the spool."""
