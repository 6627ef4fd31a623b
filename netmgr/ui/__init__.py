"""Views of one snapshot, for people."""
