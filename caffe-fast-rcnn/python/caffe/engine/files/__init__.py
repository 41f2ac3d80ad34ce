"""Files: caffemodel, solverstate and their HDF5 forms. Read without boxing floats, written atomically."""
