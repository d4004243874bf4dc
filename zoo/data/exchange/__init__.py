"""A data set written as another kind: folders of images, arrays, IDX files, tables."""
