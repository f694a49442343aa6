"""The report server: facts and key frames from boxes, drafts, sign-off, exports. It runs on a machine of its own."""
