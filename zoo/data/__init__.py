"""Images and labels: read, split, drawn, made into squares, looked through, exchanged."""
