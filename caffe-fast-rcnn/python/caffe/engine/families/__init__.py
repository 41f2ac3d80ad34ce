"""What families of layers have in common: base classes and functions for the files in `layers`."""
