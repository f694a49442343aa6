"""The twin: a virtual box with a real V4L2 HDMI driver, and scenarios of what happens to its cable.

On the host: `__main__` (commands) → `needs` (host packages), `image` (root file system, cached), `checkout` (this
checkout as a disk, made for each run), `machine` (QEMU), `session` (scenarios into the machine, results out of it),
`report` (docs/twin.md). Updates, beside that: `publisher` (releases, a web server, sticks), `ota` (a box on a disk that
is kept), `ota_killed` (its power), `thin` (what such releases are). In the guest: `guest/` (the agent, and the `Twin`
that scenarios play on) and `scenarios/`. Both sides talk in the words of `words`.
"""
