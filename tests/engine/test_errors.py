"""Which exceptions are user errors, and that they can still be caught by their other base classes."""
import importlib
import pkgutil

import pytest

import caffe
from caffe.commands.running import guarded

OTHER_BASES = {
    "AnnotationError": (ValueError,), "AxisMismatchException": (), "BlobError": (ValueError,), "CommandError": (),
    "CropError": (AssertionError, ValueError), "DatabaseError": (ValueError,),
    "ExportError": (ValueError,), "FillerError": (ValueError,), "ImageListError": (ValueError,),
    "LayerError": (ValueError,), "OnnxMissing": (ImportError,), "ParallelError": (RuntimeError,),
    "PrototxtError": (ValueError,), "SolverError": (ValueError,), "UndefinedMapException": (),
    "WeightsError": (ValueError,), "WireError": (ValueError,)}


def error_classes():
    """The exceptions that the package's modules define, by name."""
    modules = [importlib.import_module(module.name) for module in pkgutil.walk_packages(caffe.__path__, "caffe.")
               if not module.name.endswith("__main__") and "export.onnx_" not in module.name]
    modules.append(importlib.import_module("caffe.export.onnx_model"))
    return {value.__name__: value for module in modules for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == module.__name__}


def test_every_user_error_has_one_base():
    classes = error_classes()
    assert {name for name, cls in classes.items() if issubclass(cls, caffe.CaffeError)} - {"CaffeError"} \
        == set(OTHER_BASES)
    assert caffe.CaffeError.is_user_error
    for name, bases in OTHER_BASES.items():
        assert all(issubclass(classes[name], base) for base in bases)


def test_commands_print_the_message_alone(capsys):
    class Mistake(caffe.CaffeError):
        pass

    def work():
        raise Mistake("net.prototxt:3: this cannot be")
    assert guarded("caffe some", work) == 2
    assert capsys.readouterr().err == "caffe some: net.prototxt:3: this cannot be\n"


@pytest.mark.parametrize("name", sorted(OTHER_BASES))
def test_messages_stay_as_given(name):
    if name != "PrototxtError":     # it is prefixed with file and line
        assert str(error_classes()[name]("what is wrong")) == "what is wrong"
