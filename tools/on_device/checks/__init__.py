"""One file a check. `tools.on_device.ORDER` says in which order they run."""
