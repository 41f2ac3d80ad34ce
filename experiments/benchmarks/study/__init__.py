"""Parts of ohem_study.py: conditions, data sets, runs, statistics, report, and a mining rule."""
