"""Files: caffemodel, solverstate and their HDF5 forms, read without boxing floats and written atomically."""
