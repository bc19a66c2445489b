"""What a spec means: types, expressions, densities, networks, the program, and the kernels that it is lowered to."""
