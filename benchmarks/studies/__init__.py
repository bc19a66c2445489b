"""Studies: what models learn, over seeds that are fixed beforehand, beside the aims. They take minutes to hours.

    python -m benchmarks.studies modes --backend pyro --seeds 0 1 2

Every fit appends one JSON line to `runs/studies/NAME.jsonl` (or `--out`), and a fit that has its line is not repeated:
a study that was stopped goes on where it was. The table of the aims is printed from those lines.
"""
