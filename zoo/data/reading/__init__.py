"""From what a person has to a data set: folders, tables, archives, arrays, shards."""
