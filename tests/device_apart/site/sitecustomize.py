"""Python runs this at its start where this folder is in PYTHONPATH: the process gets the device apart, or ends."""
import os
import traceback

try:
    import device_apart
    device_apart.install()
except BaseException:       # which Python would ignore: the program would go on without a GPU, and its tests skip
    traceback.print_exc()
    os._exit(70)
