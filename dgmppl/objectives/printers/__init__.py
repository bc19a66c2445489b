"""The objective on the screen, in a paper and as data: `text`, `latex`, `to_dict`, and the whole page by `explain`.

All print the same tree that is lowered; nothing here decides what is trained.
"""

from dgmppl.objectives.printers.data import to_dict
from dgmppl.objectives.printers.explanation import explain, objective_latex, objective_text
from dgmppl.objectives.printers.page import explain_text
from dgmppl.objectives.printers.terms import latex, text

__all__ = ["explain", "explain_text", "latex", "objective_latex", "objective_text", "text", "to_dict"]
