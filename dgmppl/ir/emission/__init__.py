"""Kernels as Python text: what the printers of all backends share."""
