"""The parts of ohem_study.py: its conditions, data sets, runs, statistics and report, and a mining rule."""
