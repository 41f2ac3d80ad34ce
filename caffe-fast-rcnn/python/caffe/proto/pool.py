"""A separate descriptor pool, so that another package's caffe.proto in the same process does not conflict.

Protobuf registers generated modules in one pool for the whole process, where names are unique: a converter with its own
caffe.proto could not be imported beside this package. `caffe_pb2`, and modules generated from schemas that import it,
are registered in `POOL` instead; all others stay in the shared pool.
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
    """The part of a pool's interface that generated modules use."""

    @staticmethod
    def AddSerializedFile(serialized: bytes) -> Any:
        """Register a schema, after those that it imports; returns its descriptor."""
        for name in descriptor_pb2.FileDescriptorProto.FromString(serialized).dependency:
            if not _is_known(name):
                _Registry.AddSerializedFile(_shared_pool().FindFileByName(name).serialized_pb)
        return POOL.AddSerializedFile(serialized)


class _Classes(symbol_database.SymbolDatabase):
    """Protobuf's table of message classes, without ours: its pure Python implementation refuses duplicate names."""

    def RegisterMessage(self, message: Any) -> Any:
        """Register a class unless it belongs to our pool; returns it."""
        return message if message.DESCRIPTOR.file.pool is POOL else symbol_database.Default().RegisterMessage(message)


def _is_known(name: str) -> bool:
    try:
        return bool(POOL.FindFileByName(name))
    except KeyError:
        return False


def _pool_of_caller() -> Any:
    """Replaces `descriptor_pool.Default()`: our pool for generated modules of, or importing, a schema in it."""
    caller = sys._getframe(1).f_globals
    ours = caller.get("__name__") == SCHEMA or any(_is_ours(name, value) for name, value in caller.items())
    return _Registry if ours else _shared_pool()


def _is_ours(name: str, value: Any) -> bool:
    """Whether a global is a module in our pool, imported by generated code: `import caffe_pb2 as caffe_..._pb2`."""
    return name.endswith("__pb2") and getattr(getattr(value, "DESCRIPTOR", None), "pool", None) is POOL


def install() -> None:
    """Direct generated modules to the pool that is theirs."""
    descriptor_pool.Default = _pool_of_caller
    builder._sym_db = _Classes()
