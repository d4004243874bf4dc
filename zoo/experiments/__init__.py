"""Several runs that answer one question: folds, seeds, grids."""
