"""What is shown: rows of claims in a terminal, formulas in Unicode."""
