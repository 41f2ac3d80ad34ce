"""Reports of runs, results and data sets: self-contained HTML pages."""
