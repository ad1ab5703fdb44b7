"""Training clips, and clips to measure on."""
