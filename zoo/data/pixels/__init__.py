"""From an image to the square that a network takes: decoding, resizing, holding, keeping."""
