"""Python runs this at start-up if this folder is on PYTHONPATH: the process gets the simulated device, or ends."""
import os
import traceback

try:
    import device_apart
    device_apart.install()
except BaseException:       # Python would ignore it: the program would run without a GPU, and its tests skip
    traceback.print_exc()
    os._exit(70)
