"""One file a measurement: `run(options) -> dict`, whose values go into the report as they are."""
