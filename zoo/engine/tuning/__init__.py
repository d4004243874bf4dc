"""The settings with which this machine trains a network fastest, found by trying: ``--tune``.

settings (what can be set), trial (what a step costs), remembered (what was found), tune (the story)
"""
