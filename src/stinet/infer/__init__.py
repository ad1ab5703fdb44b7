"""A clip function over a long video: windows, tiles and threads."""
