"""Draws nets: the graph of layers and blobs as DOT text or as an image.

    draw_net_to_file(caffe.io.caffe_pb2.NetParameter(...), "net.png")

`.dot` and `.raw` files hold DOT text and need no other program. Images are rendered by Graphviz's `dot` if it is
installed, else by matplotlib with a simpler layout.
"""
from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from .atomic import atomic_path
from .engine.graph.upgrade import upgrade_net
from .proto import caffe_pb2
from .proto.prototxt import read_net

_COLORS = {"Convolution": "#FF5050", "Deconvolution": "#FF5050", "Pooling": "#FF9900", "InnerProduct": "#CC33FF"}
_LAYER_COLOR, _IN_PLACE_COLOR, _BLOB_COLOR = "#6495ED", "#90EE90", "#E0E0E0"
LAYER_STYLE_DEFAULT = {"shape": "record", "fillcolor": _LAYER_COLOR, "style": "filled"}
NEURON_LAYER_STYLE = {"shape": "record", "fillcolor": _IN_PLACE_COLOR, "style": "filled"}
BLOB_STYLE = {"shape": "octagon", "fillcolor": _BLOB_COLOR, "style": "filled"}
_LEARNING_TYPES = ("Convolution", "Deconvolution", "InnerProduct")
_DIRECTIONS = ("LR", "TB", "RL", "BT")
_MOST_PIXELS = 20000        # longer side of an image by matplotlib


@dataclass
class Graph:
    """nodes: {name: (label, color, shape)}; edges: [(from, to, label)]"""

    name: str
    nodes: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    edges: list[tuple[str, str, str]] = field(default_factory=list)


# ---------------------------------------------------------------------------------------------- what is drawn
def get_edge_label(layer: caffe_pb2.LayerParameter) -> str:
    """The label of the edge from a layer to its top: the number of outputs, or the batch size of data."""
    if layer.type == "Data":
        return f"Batch {layer.data_param.batch_size}"
    if layer.type in ("Convolution", "Deconvolution"):
        return str(layer.convolution_param.num_output)
    return str(layer.inner_product_param.num_output) if layer.type == "InnerProduct" else ""


def get_layer_label(layer: caffe_pb2.LayerParameter, rankdir: str, display_lrm: bool = False) -> str:
    """The text in a layer's node: name, type, window, and with display_lrm its learning rate multipliers."""
    parts = [layer.name, f"({layer.type})"]
    if layer.type in ("Convolution", "Deconvolution", "Pooling"):
        parts += _window_texts(layer)
    if display_lrm and layer.type in _LEARNING_TYPES:
        parts.append("lr mult: " + ", ".join(f"{value:g}" for value in get_layer_lr_mult(layer)))
    return (" " if rankdir in ("TB", "BT") else "\n").join(parts)


def get_layer_lr_mult(layer: caffe_pb2.LayerParameter) -> tuple[float, ...]:
    """The learning rate multipliers of a convolution or a fully connected layer. Raises ValueError for others."""
    if layer.type not in _LEARNING_TYPES:
        raise ValueError(f"lr_mult is shown for {', '.join(_LEARNING_TYPES)}; '{layer.name}' is a {layer.type}")
    return tuple(spec.lr_mult for spec in layer.param) or (1.0,)


def get_pooling_types_dict() -> dict[int, str]:
    """Number of a pooling method -> its name."""
    return {number: name for name, number in caffe_pb2.PoolingParameter.PoolMethod.items()}


def _window_texts(layer: caffe_pb2.LayerParameter) -> list[str]:
    """['kernel size: 3', 'stride: 2', 'pad: 1'], preceded by the method for Pooling."""
    if layer.type == "Pooling":
        param = layer.pooling_param
        texts = [param.PoolMethod.Name(param.pool)]
        if param.global_pooling:
            return [*texts, "global"]
    else:
        param, texts = layer.convolution_param, []
    for text, plain, split, default in (("kernel size", "kernel_size", "kernel", 0), ("stride", "stride", "stride", 1),
                                        ("pad", "pad", "pad", 0)):
        if param.HasField(f"{split}_h") or param.HasField(f"{split}_w"):
            value = f"{getattr(param, split + '_h')}x{getattr(param, split + '_w')}"
        else:
            given = getattr(param, plain)
            numbers = [given] if isinstance(given, int) else list(given) or [default]
            value = "x".join(map(str, numbers))
        texts.append(f"{text}: {value}")
    return texts


def choose_color_by_layertype(layer_type: str) -> str:
    """The fill color of a layer's node."""
    return _COLORS.get(layer_type, _LAYER_COLOR)


def _is_in_phase(layer: caffe_pb2.LayerParameter, phase: int | None) -> bool:
    if phase is None:
        return True
    included = not layer.include or any(rule.phase == phase for rule in layer.include)
    return included and not any(rule.phase == phase for rule in layer.exclude)


def _net_param(net) -> caffe_pb2.NetParameter:
    """An upgraded copy of a NetParameter, or of the file with that name."""
    result = caffe_pb2.NetParameter()
    result.CopyFrom(read_net(os.fspath(net)) if isinstance(net, (str, os.PathLike)) else net)
    upgrade_net(result)
    return result


def get_graph(caffe_net, rankdir: str = "LR", label_edges: bool = True, phase: int | None = None,
              display_lrm: bool = False) -> Graph:
    """The graph of a net's layers and blobs.

    caffe_net    a NetParameter, or the name of a prototxt
    rankdir      LR, TB, RL or BT: where the data flows
    label_edges  label edges with numbers of outputs
    phase        caffe.TRAIN or caffe.TEST to leave out the layers of the other phase
    display_lrm  show learning rate multipliers in layers
    """
    if rankdir not in _DIRECTIONS:
        raise ValueError(f"rankdir must be one of {', '.join(_DIRECTIONS)}, got '{rankdir}'")
    net = _net_param(caffe_net)
    graph = Graph(net.name)
    for layer in net.layer:
        if _is_in_phase(layer, phase):
            _add_layer(graph, layer, get_layer_label(layer, rankdir, display_lrm),
                       get_edge_label(layer) if label_edges else "")
    return graph


def _add_layer(graph: Graph, layer: caffe_pb2.LayerParameter, label: str, edge_label: str) -> None:
    in_place = list(layer.bottom) == list(layer.top) and len(layer.bottom) == 1
    name = f"layer {layer.name}"
    while name in graph.nodes:      # TRAIN and TEST variants of a layer may have one name
        name += "'"
    graph.nodes[name] = (label, _IN_PLACE_COLOR if in_place else choose_color_by_layertype(layer.type), "box")
    for blob in [*layer.bottom, *layer.top]:
        graph.nodes[f"blob {blob}"] = (blob, _BLOB_COLOR, "octagon")
    graph.edges += [(f"blob {blob}", name, "") for blob in layer.bottom]
    graph.edges += [(name, f"blob {blob}", edge_label) for blob in layer.top]


# ---------------------------------------------------------------------------------------------- DOT
def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def get_dot(caffe_net, rankdir: str = "LR", label_edges: bool = True, phase: int | None = None,
            display_lrm: bool = False) -> str:
    """The graph of a net as DOT text; the arguments are those of `get_graph`."""
    return _dot_of(get_graph(caffe_net, rankdir, label_edges, phase, display_lrm), rankdir)


def _dot_of(graph: Graph, rankdir: str) -> str:
    nodes = [f"  {_quoted(name)} [label={_quoted(label)}, fillcolor={_quoted(color)}, shape={shape}, style=filled];"
             for name, (label, color, shape) in graph.nodes.items()]
    edges = [f"  {_quoted(source)} -> {_quoted(target)}" + (f" [label={_quoted(label)}];" if label else ";")
             for source, target, label in graph.edges]
    return "\n".join([f"digraph {_quoted(graph.name or 'Net')} {{", f"  rankdir={rankdir};", *nodes, *edges, "}\n"])


# ---------------------------------------------------------------------------------------------- images
def draw_net(caffe_net, rankdir: str = "LR", ext: str = "png", phase: int | None = None,
             display_lrm: bool = False) -> bytes:
    """A drawing of a net, as the contents of a file of type `ext`: dot, png, svg, pdf, ..."""
    return _rendered(get_graph(caffe_net, rankdir, phase=phase, display_lrm=display_lrm), rankdir, ext)


def _rendered(graph: Graph, rankdir: str, ext: str) -> bytes:
    text = _dot_of(graph, rankdir)
    if ext in ("dot", "raw"):       # pycaffe's scripts call it raw
        return text.encode()
    if program := shutil.which("dot"):
        result = subprocess.run([program, f"-T{ext}"], input=text.encode(), capture_output=True, check=False)
        if result.returncode:
            raise ValueError(f"dot -T{ext} failed: {result.stderr.decode(errors='replace').strip()}")
        return result.stdout
    return _plotted(graph, rankdir, ext)


def draw_net_to_file(caffe_net, filename: str | os.PathLike, rankdir: str = "LR", phase: int | None = None,
                     display_lrm: bool = False) -> None:
    """Draw a net into a file; its extension selects the format. The other arguments are those of `get_graph`."""
    ext = os.path.splitext(os.fspath(filename))[1][1:].lower()
    if not ext:
        raise ValueError(f"{os.fspath(filename)}: the extension of the name selects the format, e.g. net.png")
    picture = draw_net(caffe_net, rankdir, ext, phase, display_lrm)
    with atomic_path(filename) as temporary:
        temporary.write_bytes(picture)


class DotGraph:
    """The graph returned by `get_pydot_graph`, with the pydot methods that scripts call."""

    def __init__(self, graph: Graph, rankdir: str) -> None:
        self._graph, self._rankdir = graph, rankdir

    def to_string(self) -> str:
        """The graph as DOT text."""
        return _dot_of(self._graph, self._rankdir)

    def create(self, prog: str | None = None, format: str = "ps") -> bytes:
        """The drawing, as the contents of a file of that format; `prog` exists for pydot's sake and is ignored."""
        return _rendered(self._graph, self._rankdir, format)

    def write(self, path: str | os.PathLike, prog: str | None = None, format: str = "raw") -> bool:
        """Write the drawing, or the DOT text if the format is raw, to a file; returns True, as pydot does."""
        content = self.create(prog, format)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
        return True


def get_pydot_graph(caffe_net, rankdir: str, label_edges: bool = True, phase: int | None = None,
                    display_lrm: bool = False) -> DotGraph:
    """The graph of a net, for scripts written for pydot; the arguments are those of `get_graph`."""
    return DotGraph(get_graph(caffe_net, rankdir, label_edges, phase, display_lrm), rankdir)


def layered(nodes: Iterable[str], edges: Iterable[tuple[str, str]]) -> dict[str, tuple[int, float]]:
    """The position of each node: (step along the flow, position across it).

    A node comes one step after the last of its predecessors; back edges, which in-place layers cause, are ignored.
    Across the flow, nodes are ordered by the mean position of their predecessors.
    """
    sources: dict[str, list[str]] = defaultdict(list)
    steps: dict[str, int] = dict.fromkeys(nodes, 0)
    known: set[tuple[str, str]] = set()
    for source, target in edges:
        if (target, source) not in known:
            sources[target].append(source)
            known.add((source, target))
    for _ in steps:         # longest paths: at most as many rounds as there are nodes
        longer = {name: max(steps[source] + 1 for source in found) for name, found in sources.items()}
        if all(steps[name] == step for name, step in longer.items()):
            break
        steps.update(longer)
    columns: dict[int, list[str]] = defaultdict(list)
    for name, step in steps.items():
        columns[step].append(name)
    places: dict[str, tuple[int, float]] = {}
    for step, column in sorted(columns.items()):
        wanted = {name: _mean([places[source][1] for source in sources[name] if source in places]) for name in column}
        for index, name in enumerate(sorted(column, key=wanted.__getitem__)):
            places[name] = step, index - (len(column) - 1) / 2
    return places


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _plotted(graph: Graph, rankdir: str, ext: str) -> bytes:
    from matplotlib.figure import Figure  # slow to import and rarely needed

    across = rankdir in ("TB", "BT")
    spacing = (4.0, 0.8) if across else (2.2, 1.4)          # inches between neighbours, horizontally and vertically
    places = layered(graph.nodes, [edge[:2] for edge in graph.edges])
    sign = -1 if rankdir in ("RL", "TB") else 1
    points = {name: (position * spacing[0], sign * step * spacing[1]) if across else
              (sign * step * spacing[0], -position * spacing[1]) for name, (step, position) in places.items()}
    xs, ys = zip(*points.values(), strict=True) if points else ((0.0,), (0.0,))
    size = max(xs) - min(xs) + spacing[0], max(ys) - min(ys) + spacing[1]
    figure = Figure(figsize=size)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(min(xs) - spacing[0] / 2, max(xs) + spacing[0] / 2),
             ylim=(min(ys) - spacing[1] / 2, max(ys) + spacing[1] / 2))
    axes.axis("off")
    for source, target, label in graph.edges:
        axes.annotate("", points[target], points[source], arrowprops={"arrowstyle": "->", "shrinkA": 25, "shrinkB": 25})
        x, y = ((a + b) / 2 for a, b in zip(points[source], points[target], strict=True))
        axes.text(x, y, label, fontsize=6, ha="center", va="bottom")
    for name, (label, color, shape) in graph.nodes.items():
        style = "round,pad=0.4" if shape == "octagon" else "square,pad=0.4"
        axes.text(*points[name], label, fontsize=7, ha="center", va="center", parse_math=False,
                  bbox={"boxstyle": style, "facecolor": color, "edgecolor": "black"})
    file = io.BytesIO()
    figure.savefig(file, format=ext, dpi=min(100, _MOST_PIXELS / max(size)))
    return file.getvalue()
