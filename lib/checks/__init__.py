"""What is compared before training starts: prototxts, settings and data set."""
