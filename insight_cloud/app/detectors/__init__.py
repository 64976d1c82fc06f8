"""The analyzers that run on a working copy, each with an honest state."""
