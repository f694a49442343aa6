"""The report server: facts and key frames from boxes, drafts, sign-off, exports. It runs on another machine than a box."""
