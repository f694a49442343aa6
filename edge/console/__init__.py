"""The serial console: diagnostics over a wire, in a process of its own. It lives while core and uplink are dead.

Nothing here imports a part that sees pixels or talks to a network. One thread, never blocked by whoever is (or is not)
at the other end of the line. docs/console.md is its manual.
"""
