"""Updates in the field: signed, whole, tried out, never during a procedure. docs/adr/0016 has the parts and why."""
