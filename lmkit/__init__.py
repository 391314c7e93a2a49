"""Anatomical landmark detection by heatmap regression: the module behind the notebooks."""

__version__ = "0.1.0"
