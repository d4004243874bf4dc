"""A trained run, loaded again."""
