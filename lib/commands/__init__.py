"""What the command line tools share: options, the data set and the detector that the options name."""
