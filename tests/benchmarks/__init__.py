"""`make bench`: what the pipeline costs on this machine. Nothing here asserts a time."""
