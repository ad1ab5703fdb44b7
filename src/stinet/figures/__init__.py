"""Pictures of a paper, each by one call: strips of crops, x-t slices, the graph's edges, offset fields, ablations."""
