"""What leaves: track files, exports, overlay video and report page."""
