"""Space-time video super-resolution: a video with four times the size and any frame rate, in one pass."""
