"""Other systems as clip functions of the same kind: what a network of ours is measured against."""
