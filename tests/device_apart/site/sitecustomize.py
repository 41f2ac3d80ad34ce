"""Python runs this at start-up if this folder is on PYTHONPATH: it installs the simulated device or exits."""
import os
import traceback

try:
    import device_apart
    device_apart.install()
except BaseException:       # Python would ignore it, and tests would be skipped for want of a GPU
    traceback.print_exc()
    os._exit(70)
