"""Knowing the data: what is wrong or odd about the images, labels and splits of a data set."""
