"""Learning from sign-off: what a clinician signed, beside what the machine had drafted, as samples for training.

`samples.sample` makes one of a signed case, without names; `export.export` writes a folder of them. Pure but for that
folder. A sentence leaves when the grounding check understands every word of it and it names nobody and no day; all else
stays and is counted. Training: `server/finetune`.
"""
