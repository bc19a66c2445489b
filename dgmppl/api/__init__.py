"""The Python API: compiled programs, fits, and runs on disk."""
