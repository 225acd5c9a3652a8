"""Scores of tracks, masks and painted hands against made truth; names carry the protocol."""
