"""Base classes and functions shared by several files of `layers`."""
