"""The network, one file a phase."""
