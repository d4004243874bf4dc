"""Trained classifiers on images of any kind: read, look at, ask, write down."""
