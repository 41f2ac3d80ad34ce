"""Code shared by the command line tools: options, and the data set and detector that they name."""
