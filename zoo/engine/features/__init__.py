"""What the frozen part of a network makes of the images: computed once, kept, trained on.

images -> identity (what each image is) ┐
network -> frontier -> key (what computes) ┴-> shelf (rows on disk) <- compute -> rows -> feed
"""
