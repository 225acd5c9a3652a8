"""One picture at a time: the frame-level core."""
