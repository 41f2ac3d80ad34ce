"""caffe.proto has its own descriptor pool, so that other packages' schemas with the same names do not conflict."""
import copy
import pickle

import pytest
from forked_python import run_python
from google.protobuf import descriptor_pool

from caffe.proto import caffe_pb2, pool

OTHER = """
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.internal import builder

def other():
    file = descriptor_pb2.FileDescriptorProto(name=NAME, package="caffe", syntax="proto2")
    message = file.message_type.add(name="LayerParameter")
    message.field.add(name="strange", number=1, type=5, label=1)
    module = {}
    schema = descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    builder.BuildMessageAndEnumDescriptors(schema, module)
    builder.BuildTopDescriptorsAndMessages(schema, "other_pb2", module)
    return module["LayerParameter"]
"""
EXTENSIONS = """
import types
from google.protobuf import descriptor_pb2
from caffe.proto import caffe_pb2, prototxt
WRITTEN = '''
from google.protobuf import descriptor_pool as _descriptor_pool
from google.protobuf.internal import builder as _builder
import {module} as {alias}
DESCRIPTOR = _descriptor_pool.Default().AddSerializedFile(SERIALIZED)
_builder.BuildMessageAndEnumDescriptors(DESCRIPTOR, globals())
_builder.BuildTopDescriptorsAndMessages(DESCRIPTOR, "{name}", globals())
'''

def generated(name, imports, module, alias, number):
    imports = dict.fromkeys([imports, "caffe/proto/caffe.proto"])
    file = descriptor_pb2.FileDescriptorProto(name=name + ".proto", package=name, syntax="proto2", dependency=imports)
    file.message_type.add(name="Settings").field.add(name="limit", number=1, type=2, label=1)
    file.extension.add(name="own", number=10100 + number, type=11, label=1, type_name=f".{name}.Settings",
                       extendee=".caffe.LayerParameter")
    result = types.ModuleType(name + "_pb2")
    result.SERIALIZED = file.SerializeToString()
    sys.modules[result.__name__] = result
    exec(WRITTEN.format(module=module, alias=alias, name=name + "_pb2"), vars(result))
    return result

first = generated("first", "caffe/proto/caffe.proto", "caffe.proto.caffe_pb2", "caffe_dot_proto_dot_caffe__pb2", 1)
second = generated("second", "first.proto", "first_pb2", "first__pb2", 2)
layer = caffe_pb2.LayerParameter(name="a")
layer.Extensions[first.own].limit = 3
layer.Extensions[second.own].limit = 4
text = prototxt.to_text(layer)
assert "[first.own]" in text and "[second.own]" in text, text
assert prototxt.parse(text, caffe_pb2.LayerParameter()) == layer
assert caffe_pb2.LayerParameter.FromString(layer.SerializeToString()) == layer
"""


def run(program: str, implementation: str) -> str:
    from caffe import __file__ as init
    package = init.rpartition("/caffe/")[0]
    program = f"import sys; sys.path.insert(0, {package!r})\n{program}"
    done = run_python(program, {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("implementation", ["upb", "python"])
@pytest.mark.parametrize("name", ["caffe.proto", "caffe/proto/caffe.proto"])
@pytest.mark.parametrize("order", ["import caffe; Other = other()", "Other = other(); import caffe"])
def test_another_schema_of_the_same_names(order, name, implementation):
    print_both = "print(list(Other.DESCRIPTOR.fields_by_name), 'bottom' in caffe.proto.caffe_pb2.LayerParameter." \
                 "DESCRIPTOR.fields_by_name, Other(strange=3).strange)"
    assert run(f"NAME = {name!r}\n{OTHER}\n{order}\n{print_both}", implementation) == "['strange'] True 3\n"


@pytest.mark.parametrize("order", ["import caffe", "other(); import caffe"])
def test_extensions_beside_another_schema(order):
    run(f"NAME = 'caffe.proto'\n{OTHER}\n{order}\n{EXTENSIONS}", "upb")


def test_messages_are_copied_and_pickled():
    net = caffe_pb2.NetParameter(name="n", layer=[{"name": "a", "pooling_param": {"kernel_size": 3}}])
    assert copy.deepcopy(net) == pickle.loads(pickle.dumps(net)) == net
    assert type(pickle.loads(pickle.dumps(net))) is caffe_pb2.NetParameter


def test_only_our_schema_is_in_our_pool():
    assert caffe_pb2.DESCRIPTOR.pool is pool.POOL
    assert descriptor_pool.Default() is not pool.POOL
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("caffe.NetParameter")
