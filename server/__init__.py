"""The report server: facts and key frames from boxes, drafts, sign-off, exports. Runs on another machine than the box."""
