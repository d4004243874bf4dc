"""Reading images: sources, decoding, splits and the packed format of embedded data sets."""
