"""Blobs that change when a layer works in place on another blob that shares their memory."""
from __future__ import annotations


def changed_by_layers(net) -> list[list[tuple[int, int]]]:
    """For each layer, the pairs (blob, top) of indices where the blob takes the top's values, in its own shape.

    Such blobs are tops of Split, Flatten, Reshape and the like, or their bottoms; those never read later are left out.
    """
    blobs, count = net._blobs, len(net.engine_layers)
    last_read = {index: place for place in range(count) for index in net._bottom_ids(place)}
    last_read.update(dict.fromkeys(net._outputs, count))
    found: list[list[tuple[int, int]]] = []
    made: set[int] = set()
    for place in range(count):
        own = set(net._top_ids(place))
        read_later = [index for index in sorted(made - own) if last_read.get(index, -1) > place]
        found.append([(index, top) for top in sorted(own.intersection(net._bottom_ids(place))) for index in read_later
                      if blobs[index].shares_data_with(blobs[top])])
        made |= own
    return found
