"""Runs: the training loop, checkpoints, folders, receipts."""
