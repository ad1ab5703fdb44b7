"""Differentiable functions of tensors: no weights, no state, no settings, no files."""
