"""Paired speed ratios against hand-written programs; run with `make bench`."""
