"""Program -> objective: capabilities, rules, the derivation, and its printers."""
