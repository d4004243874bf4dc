"""What is done to a network: its head, its blocks, freezing, pretrained weights."""
