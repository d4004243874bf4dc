"""Runs side by side on the same images, and whether a difference between them is noise.

pairing.py says whether images are the same, paired.py tests, differences.py lists what the runs
were made with, comparing.py brings it together, words.py says it, page.py draws it.
"""
