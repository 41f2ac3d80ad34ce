"""Nets written in Python: `L.Convolution(n.data, num_output=64, kernel_size=3)` instead of prototxt text.

    from caffe import layers as L, params as P
    n = caffe.NetSpec()
    n.data = L.Input(shape=[dict(dim=[1, 3, 32, 32])])
    n.conv1 = L.Convolution(n.data, num_output=8, kernel_size=3, param=[dict(lr_mult=1), dict(lr_mult=2)])
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    n.pool1 = L.Pooling(n.relu1, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    print(n.to_proto())

A keyword is a field of the layer type's own message (`num_output` of `convolution_param`) or, where that has
no such field, of LayerParameter (`param`, `name`, `loss_weight`, `propagate_down`). Messages are given as dicts and
repeated fields as lists; a single value stands for a list of one. `ntop` (default 1) is the number of tops,
`in_place=True` writes the top into the bottom. The public names are those of pycaffe's net_spec.
"""
from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from .proto import caffe_pb2
from .proto.layer_settings import PARAM_FIELDS, settings_field


class Top:
    """One output of a layer: top number `n` of the function `fn`."""

    def __init__(self, fn: Function, n: int) -> None:
        self.fn = fn
        self.n = n

    def to_proto(self) -> caffe_pb2.NetParameter:
        """The net that computes this top, with automatic names."""
        return to_proto(self)


class Function:
    """A layer of the given type: its bottoms (`inputs`, Tops), its settings (`params`) and its `tops`.

    Raises TypeError if a bottom is not a Top, or an in-place layer does not have exactly one bottom and one top.
    """

    def __init__(self, type_name: str, inputs: tuple, params: dict[str, Any]) -> None:
        self.type_name = type_name
        self.inputs = inputs
        self.params = dict(params)
        self.ntop = self.params.pop("ntop", 1)
        self.in_place = self.params.pop("in_place", False)
        for index, bottom in enumerate(inputs):
            if not isinstance(bottom, Top):
                raise TypeError(f"{type_name} input {index} is not a Top (type is {type(bottom)}); settings are given "
                                "by keyword")
        if self.in_place and (len(inputs) != 1 or self.ntop != 1):
            raise TypeError(f"{type_name}: an in-place layer has one bottom and one top, "
                            f"got {len(inputs)} and {self.ntop}")
        self.tops = tuple(Top(self, n) for n in range(self.ntop))

    def add_to(self, layers: dict[Function, Message], names: _Names) -> None:
        """Append this layer's message to `layers`, after those of its bottoms."""
        if self in layers:
            return
        for bottom in self.inputs:
            bottom.fn.add_to(layers, names)
        layer = caffe_pb2.LayerParameter(type=self.type_name, name=names.of_layer(self))
        layer.bottom.extend(layers[bottom.fn].top[bottom.n] for bottom in self.inputs)
        layer.top.extend(layer.bottom if self.in_place else [names.of_top(top) for top in self.tops])
        for key, value in self.params.items():
            _assign(_owner_of(layer, key), key, value)
        layers[self] = layer


class _Names:
    """Names of Tops and Functions: those given by the user, and automatic ones (`Pooling1`) for the rest."""

    def __init__(self, given: dict[Any, str]) -> None:
        self.given = given
        self.counts: Counter[str] = Counter()

    def automatic(self, type_name: str) -> str:
        self.counts[type_name] += 1
        return type_name + str(self.counts[type_name])

    def of_top(self, top: Top) -> str:
        if top not in self.given:
            self.given[top] = self.automatic(top.fn.type_name)
        return self.given[top]

    def of_layer(self, fn: Function) -> str:
        """The layer's name; a layer without one is named after its first top."""
        if fn not in self.given:
            self.given[fn] = self.of_top(fn.tops[0]) if fn.tops else self.automatic(fn.type_name)
        return self.given[fn]


class MissingTop(KeyError, AttributeError):
    """A net has no top of this name. A KeyError, as in pycaffe, and an AttributeError, for hasattr and getattr."""

    def __str__(self) -> str:
        return str(self.args[0])        # KeyError puts it in quotes


class NetSpec:
    """The tops of a net by name, in order: `n.conv1 = L.Convolution(...)` or `n['rpn/output'] = ...`.

    A layer without tops is added as `n.quiet = L.Silence(n.conv1, ntop=0)`. Anything may be assigned temporarily, such
    as the tuple of all tops of a layer; `to_proto` accepts tops only. Reading an unknown name raises MissingTop.
    """

    tops: dict[str, Any]

    def __init__(self) -> None:
        super().__setattr__("tops", {})

    def __setattr__(self, name: str, top: Any) -> None:
        self.tops[name] = top

    def __getattr__(self, name: str) -> Any:
        tops = self.__dict__.get("tops", {})        # empty while copy makes a NetSpec without __init__
        if name in tops:
            return tops[name]
        raise MissingTop(f"the net has no top '{name}'{_nearest(name, tops)}")

    def __delattr__(self, name: str) -> None:
        self.__getattr__(name)
        del self.tops[name]

    __setitem__ = __setattr__
    __getitem__ = __getattr__
    __delitem__ = __delattr__

    def __contains__(self, name: str) -> bool:
        return name in self.tops

    def __iter__(self) -> Iterator[str]:
        return iter(self.tops)

    def to_proto(self) -> caffe_pb2.NetParameter:
        """The net's message: layers in the order of their definition, each after its bottoms.

        Raises TypeError if a name holds anything but a top.
        """
        for name, top in self.tops.items():
            if not isinstance(top, (Top, Function)):
                raise TypeError(f"'{name}' must be a layer's top, got {top!r}; a layer with several tops needs "
                                "as many names, as in `n.data, n.label = L.Data(ntop=2)`")
        names = _Names({top: name for name, top in self.tops.items()})
        return _net_of(self.tops.values(), names)


class Layers:
    """`layers.Convolution(...)` builds a layer of that type.

    Returns its Top, a tuple of Tops for `ntop` above 1, or the Function itself for `ntop=0`.
    """

    def __getattr__(self, type_name: str):
        if type_name.startswith("__"):
            raise AttributeError(type_name)

        def layer(*bottoms: Top, **settings: Any):
            fn = Function(type_name, bottoms, settings)
            if fn.ntop == 0:
                return fn
            return fn.tops[0] if fn.ntop == 1 else fn.tops

        return layer


class Parameters:
    """`params.Pooling.MAX` is the value of an enumeration of PoolingParameter."""

    def __getattr__(self, name: str):
        message = getattr(caffe_pb2, f"{name}Parameter", None)
        if message is None:
            raise AttributeError(f"the schema has no {name}Parameter{_nearest(name, PARAM_FIELDS)}")
        return message


def param_name_dict() -> dict[str, str]:
    """Layer type -> its settings' field without `_param`: {'Convolution': 'convolution', ...}."""
    return {type_name: field.removesuffix("_param") for type_name, field in PARAM_FIELDS.items()}


def assign_proto(proto: Message, name: str, val: Any) -> None:
    """Set a field of a message from a number, string, message or dict, or from a list of them. Raises TypeError."""
    _assign(proto, name, val)


layers = Layers()
params = Parameters()


def to_proto(*tops: Top) -> caffe_pb2.NetParameter:
    """The net that computes the given tops; layers and blobs get automatic names such as `Convolution1`."""
    return _net_of(tops, _Names({}))


def _net_of(tops, names: _Names) -> caffe_pb2.NetParameter:
    messages: dict[Function, Message] = {}
    for top in tops:
        (top if isinstance(top, Function) else top.fn).add_to(messages, names)
    return caffe_pb2.NetParameter(layer=messages.values())


def _owner_of(layer: Message, key: str) -> Message:
    """The message that holds setting `key`: the type's own one if it has such a field, else the layer."""
    field = settings_field(layer.type)
    own = getattr(layer, field) if field else None
    if own is not None and key in own.DESCRIPTOR.fields_by_name:
        return own
    if key in layer.DESCRIPTOR.fields_by_name:
        return layer
    known = [*(own.DESCRIPTOR.fields_by_name if own is not None else ()), *layer.DESCRIPTOR.fields_by_name]
    raise TypeError(f"{layer.type} has no setting '{key}'{_nearest(key, known)}")


def _assign(message: Message, key: str, value: Any) -> None:
    """Set field `key` of `message` from a number, string, message or dict, or from a list of them."""
    field = message.DESCRIPTOR.fields_by_name.get(key)
    if field is None:
        known = message.DESCRIPTOR.fields_by_name
        raise TypeError(f"{message.DESCRIPTOR.name} has no field '{key}'{_nearest(key, known)}")
    try:
        _assign_field(message, field, value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{message.DESCRIPTOR.name}.{key} = {value!r}: {error}") from None


def _assign_field(message: Message, field: FieldDescriptor, value: Any) -> None:
    is_list = isinstance(value, (list, tuple))
    current = getattr(message, field.name)
    if not hasattr(current, "append"):                      # a singular field
        if field.message_type is None:
            setattr(message, field.name, value)
        else:
            _fill(current, value)
    elif field.message_type is None:
        current.extend(value if is_list else [value])
    else:
        for item in value if is_list else [value]:
            _fill(current.add(), item)


def _fill(message: Message, value: Any) -> None:
    if isinstance(value, Message):
        message.CopyFrom(value)
        return
    if not isinstance(value, dict):
        raise TypeError(f"expected a dict with fields of {message.DESCRIPTOR.name}")
    message.SetInParent()
    for key, item in value.items():
        _assign(message, key, item)


def _nearest(name: str, known) -> str:
    near = difflib.get_close_matches(name, list(known), n=3)
    return f"; did you mean {' or '.join(near)}?" if near else ""
