"""What comes out: ArviZ groups, scores, pictures, graphs."""
