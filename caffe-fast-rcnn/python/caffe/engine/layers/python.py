"""Python: a layer implemented by a user's class."""
from __future__ import annotations

import importlib
import sys

from ..layer import Layer, LayerError, PythonLayer, register


@register("Python")
class Python(Layer):
    """Runs the class `python_param { module: "m" layer: "C" }`, which derives from `caffe.Layer`.

    A function that returns such an object may take the place of the class. The module is found as by `import`, and in
    the working directory too. A LayerError of the class is prefixed with the layer's name, and in `setup` its file and
    line; any other exception passes through unchanged, with a note that names the layer.
    Source: include/caffe/layers/python_layer.hpp.
    """

    runs_in_place = True
    has_effects = True

    def __init__(self, param, phase):
        super().__init__(param, phase)
        self.user = self._make_user(param)
        self.user.param_str = self.user.param_str_ = param.python_param.param_str
        self.user.phase = self.phase
        self.user.blobs = self.blobs

    def _make_user(self, param) -> PythonLayer:
        names = self.param.python_param
        if not names.module or not names.layer:
            self.fail("python_param needs `module` and `layer`")
        if "" not in sys.path:
            sys.path.append("")
        try:
            module = importlib.import_module(names.module)
        except ModuleNotFoundError as error:
            if error.name is None or not (names.module + ".").startswith(error.name + "."):
                raise
            self.fail(f"no module '{names.module}' on sys.path; add its folder to PYTHONPATH")
        make = getattr(module, names.layer, None)
        if not callable(make) or isinstance(make, type) and not issubclass(make, PythonLayer):
            self.fail(f"module '{names.module}' has no class '{names.layer}' that derives from caffe.Layer")
        user = make(param)
        if not isinstance(user, PythonLayer):
            self.fail(f"'{names.layer}' of module '{names.module}' returned a {type(user).__name__}, no caffe.Layer")
        return user

    def _run(self, step: str, *arguments) -> None:
        try:
            getattr(self.user, step)(*arguments)
        except LayerError as error:
            self.fail(str(error))
        except Exception as error:
            if hasattr(error, "add_note"):      # Python 3.11
                error.add_note(f"raised in {step} of layer '{self.name}' ({self.param.python_param.layer})")
            raise

    def setup(self, bottom, top):
        self._run("setup", bottom, top)

    def reshape(self, bottom, top):
        self._run("reshape", bottom, top)

    def forward(self, bottom, top):
        self._run("forward", bottom, top)

    def backward(self, top, propagate_down, bottom):
        self._run("backward", top, propagate_down, bottom)
