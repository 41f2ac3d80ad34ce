"""A descriptor pool of our own: another package's caffe.proto in the same process is no conflict.

Protobuf registers what protoc generates in one pool for the whole process, where names are unique: a converter that
brings a caffe.proto of its own could not be imported beside this package. `caffe_pb2`, and modules generated from
schemas that import ours, are registered in `POOL` instead; everything else stays where it was.
"""
from __future__ import annotations

import sys
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, symbol_database
from google.protobuf.internal import builder

POOL = descriptor_pool.DescriptorPool()
SCHEMA = "caffe.proto.caffe_pb2"        # the module generated from caffe.proto

_shared_pool = descriptor_pool.Default


class _Registry:
    """What a generated module asks of a pool."""

    @staticmethod
    def AddSerializedFile(serialized: bytes) -> Any:
        """Register a schema, after those that it imports; returns its descriptor."""
        for name in descriptor_pb2.FileDescriptorProto.FromString(serialized).dependency:
            if not _is_known(name):
                _Registry.AddSerializedFile(_shared_pool().FindFileByName(name).serialized_pb)
        return POOL.AddSerializedFile(serialized)


class _Classes(symbol_database.SymbolDatabase):
    """Protobuf's table of message classes, without ours: its pure Python implementation refuses a name twice there."""

    def RegisterMessage(self, message: Any) -> Any:
        """Enter a class unless it belongs to our pool; returns it."""
        return message if message.DESCRIPTOR.file.pool is POOL else symbol_database.Default().RegisterMessage(message)


def _is_known(name: str) -> bool:
    try:
        return bool(POOL.FindFileByName(name))
    except KeyError:
        return False


def _pool_of_caller() -> Any:
    """`descriptor_pool.Default()`: our pool for generated modules that are, or import, a schema in it."""
    caller = sys._getframe(1).f_globals
    ours = caller.get("__name__") == SCHEMA or any(_is_ours(name, value) for name, value in caller.items())
    return _Registry if ours else _shared_pool()


def _is_ours(name: str, value: Any) -> bool:
    """Whether a global is a module in our pool, imported by generated code: `import caffe_pb2 as caffe_..._pb2`."""
    return name.endswith("__pb2") and getattr(getattr(value, "DESCRIPTOR", None), "pool", None) is POOL


def install() -> None:
    """Let generated modules find the pool that is theirs."""
    descriptor_pool.Default = _pool_of_caller
    builder._sym_db = _Classes()
