"""What an optimizer step is made of: gradient, penalties, clipping, averages, memory."""
