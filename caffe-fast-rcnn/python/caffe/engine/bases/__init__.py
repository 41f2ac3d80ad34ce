"""Base classes and functions that several files of `layers` share."""
