"""Learning from sign-off: what a clinician signed, beside what the machine had drafted, as samples for training.

`samples.sample` makes one of a signed case, without names; `export.export` writes a folder of them. Pure but for that
folder. Whatever is not certain to name nobody is left out and counted (`gate.py`). Training: `server/finetune`.
"""
