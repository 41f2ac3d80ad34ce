"""Python: a layer implemented by a user's Python class."""
from __future__ import annotations

import contextlib
import contextvars
import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType
from typing import NoReturn

from ..blob import BlobError
from ..layer import Layer, LayerError, PythonLayer, register

_STEPS = {"setup": ("bottom", "top"), "reshape": ("bottom", "top"), "forward": ("bottom", "top"),
          "backward": ("top", "propagate_down", "bottom")}
_ALIKE = 0.8        # difflib cutoff: `foward`, `set_up` and `backwards` are near misses, `backprop` is not
_PACKAGES: contextvars.ContextVar[Mapping[str, str]] = contextvars.ContextVar("package of a module",
                                                                              default=MappingProxyType({}))


@contextlib.contextmanager
def layer_modules(package: str, names: Collection[str]) -> Iterator[None]:
    """Nets built inside the block, in this thread, import these modules of Python layers from a package.

    names  top-level names of the modules as written in prototxts: 'rpn' covers 'rpn.proposal_layer'

    For projects whose modules became part of an installed package; other modules are imported as usual.
    """
    token = _PACKAGES.set({**_PACKAGES.get(), **dict.fromkeys(names, package)})
    try:
        yield
    finally:
        _PACKAGES.reset(token)


def _full_name(module: str) -> str:
    package = _PACKAGES.get().get(module.partition(".")[0])
    return f"{package}.{module}" if package else module


@register("Python")
class Python(Layer):
    """A layer implemented by the class of python_param { module: "m" layer: "C" }, derived from caffe.Layer.

    Instead of a class, `layer` may name a function that returns such an object. The module is searched like any import,
    and also in the working directory. A LayerError raised by the class is prefixed with the layer's name, and in
    `setup` with its file and line; any other exception passes through unchanged, with a note that names the layer. It
    is an error if the class has no `forward`, if it has no `backward` and a gradient is needed, or if a method takes
    other arguments or has a name that nearly matches one of the four.
    Source: include/caffe/layers/python_layer.hpp.
    """

    runs_in_place = True
    has_effects = True

    def __init__(self, param, phase):
        super().__init__(param, phase)
        self.user = self._make_user(param)
        self._check_methods()
        self.user.param_str = self.user.param_str_ = param.python_param.param_str
        self.user.phase = self.phase
        self.user.blobs = self.blobs

    def _make_user(self, param) -> PythonLayer:
        names = self.param.python_param
        if not names.module or not names.layer:
            self.fail("python_param needs `module` and `layer`")
        if "" not in sys.path:
            sys.path.append("")
        full_name = _full_name(names.module)
        try:
            module = importlib.import_module(full_name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{full_name}.".startswith(f"{error.name}."):
                raise
            self.fail(f"no module '{full_name}' on sys.path; add its folder to PYTHONPATH")
        make = getattr(module, names.layer, None)
        if not callable(make) or isinstance(make, type) and not issubclass(make, PythonLayer):
            self.fail(f"module '{names.module}' has no class '{names.layer}' that derives from caffe.Layer")
        user = make(param)
        if not isinstance(user, PythonLayer):
            self.fail(f"'{names.layer}' of module '{names.module}' returned a {type(user).__name__}, not a caffe.Layer")
        return user

    def _check_methods(self) -> None:
        """Fail for a missing `forward`, near misses of the four method names, and methods with other arguments."""
        for step, arguments in _STEPS.items():
            method = getattr(self.user, step, None)
            if step == "forward" and not callable(method) or self._near_names(step):
                self._fail_without(step)
            if callable(method) and not _takes(method, arguments):
                self.fail(f"{self._place()}: expected `{step}({', '.join(arguments)})` besides self, "
                          f"found `{step}{inspect.signature(method)}`")

    def _fail_without(self, step: str) -> NoReturn:
        near = "".join(f"; did you mean `{name}`?" for name in self._near_names(step)[:1])
        self.fail(f"{self._place()} has no method `{step}(self, {', '.join(_STEPS[step])})`{near}")

    def _near_names(self, step: str) -> list[str]:
        """Public methods of the user's class with a name close to this step's, if the class lacks the step."""
        if getattr(type(self.user), step, None) is not getattr(PythonLayer, step, None) or step in vars(self.user):
            return []
        names = {_plain(name): name for name in dir(type(self.user))
                 if not name.startswith("_") and name not in _STEPS and callable(getattr(self.user, name))}
        return [names[near] for near in difflib.get_close_matches(step, names, cutoff=_ALIKE)]

    def _place(self) -> str:
        """Where the user's class is defined: `module.py:12: class Name`."""
        cls = type(self.user)
        try:
            file, line = inspect.getsourcefile(cls), inspect.getsourcelines(cls)[1]
        except (OSError, TypeError):        # defined interactively
            return f"class '{cls.__name__}'"
        return f"{file}:{line}: class '{cls.__name__}'"

    def _run(self, step: str, *arguments) -> None:
        try:
            getattr(self.user, step)(*arguments)
        except (BlobError, LayerError) as error:
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
        if not hasattr(self.user, "backward"):
            if not any((*propagate_down, *self.param_propagate_down)):
                return
            self._fail_without("backward")
        self._run("backward", top, propagate_down, bottom)


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _takes(method: Callable, arguments: tuple[str, ...]) -> bool:
    """Whether a method can be called with these arguments; true if its signature is unknown."""
    try:
        signature = inspect.signature(method)
    except ValueError:
        return True
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True
