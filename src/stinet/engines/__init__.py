"""The clip function of a network, compiled by other engines than PyTorch."""
