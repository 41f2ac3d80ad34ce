"""Pages that show a run, its results and its data: HTML files that need nothing else."""
