"""Runs every benchmark in a process of its own: thread counts and XLA flags are fixed before the libraries load."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = ("vae_torch", "vae_jax", "flows", "games", "causal_sampling", "energies", "quality_flows", "front_end")


def main() -> int:
    wanted = sys.argv[1:] or BENCHMARKS
    codes = [subprocess.call([sys.executable, "-m", f"benchmarks.{name}"]) for name in wanted]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
