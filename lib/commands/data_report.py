"""Reports the statistics of a data set as text."""
from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

import numpy as np

from checks.data_advice import ClassFigures, DataFigures, SizeOption
from commands.advice import anchors_in_words
from datasets.imdb import imdb as Imdb

_MOST_CLASSES = 20      # rows of the table


def report(figures: DataFigures, imdb: Imdb, net: str, commands: Sequence[Sequence[str]], settings: str) -> str:
    """The statistics of a data set for the anchors of `net`, the summary of its files, and the advice.

    settings  the present TRAIN.SCALES and TRAIN.MAX_SIZE in words
    """
    return "\n".join([*_class_lines(figures, imdb.name, settings), "", imdb.summary(), "", *_size_lines(figures), "",
                      *_option_lines(figures, net), "", *advice_lines(figures, commands)])


def _class_lines(figures: DataFigures, name: str, settings: str) -> Iterator[str]:
    yield f"{name}: {figures.images} images, {figures.objects} objects; sizes in pixels at {settings}"
    shown = sorted(figures.classes, key=lambda each: (-each.objects, each.name))
    rows = [["class", "objects", "images", "median size", *(f"IoU < {limit:g}" for limit in figures.thresholds)]]
    rows += [_class_row(each) for each in shown[:_MOST_CLASSES]]
    if len(shown) > 1:
        rows.append(["all", str(figures.objects), str(figures.images), "",
                     *_shares(figures.present.below, figures.objects)])
    yield from _aligned(rows)
    if len(shown) > _MOST_CLASSES:
        yield f"({len(shown) - _MOST_CLASSES} further classes have at most {shown[_MOST_CLASSES].objects} objects)"


def _class_row(each: ClassFigures) -> list[str]:
    return [each.name, str(each.objects), str(each.images), f"{each.width:.0f} x {each.height:.0f}",
            *_shares(each.below, each.objects)]


def _size_lines(figures: DataFigures) -> Iterator[str]:
    rows = [["quantile", *(f"{quantile:.0%}" for quantile in figures.quantiles)]]
    rows += [[name, *(f"{value:.2f}" if "/" in name else f"{value:.0f}" for value in values)]
             for name, values in figures.sizes.items()]
    yield from _aligned(rows)


def _option_lines(figures: DataFigures, net: str) -> Iterator[str]:
    yield f"Objects that no anchor reaches, with the anchors of {net} now and with the best ones"
    rows = option_rows(figures)
    yield from _aligned(rows, left=(0, len(rows[0]) - 1))


def option_rows(figures: DataFigures) -> list[list[str]]:
    """A table of the present and of better TRAIN.SCALES and anchors, header first."""
    rows = [["TRAIN.SCALES", "pixels", *(f"IoU < {limit:g}" for limit in figures.thresholds), "anchors"]]
    rows.append(_option_row(figures.present, figures.objects, " now"))
    return rows + [_option_row(option, figures.objects,
                               " advised" if option == figures.advised else "") for option in figures.options]


def _option_row(option: SizeOption, objects: int, mark: str) -> list[str]:
    scales = " ".join(map(str, option.scales)) + mark
    return [scales, f"{option.pixels:.2f}", *_shares(option.below, objects), anchors_in_words(option.layout)]


def advice_lines(figures: DataFigures, commands: Sequence[Sequence[str]]) -> Iterator[str]:
    """What to do, and the commands for it, indented."""
    if figures.keeps_anchors and not figures.settings:
        yield "Anchors and sizes fit the data. To train:"
    else:
        yield "Advised (train_net.py takes the same --set, and a solver in the folder of the nets):"
    if not figures.keeps_anchors and len(commands) == 1:
        layout = figures.advised.layout
        count = len(layout.scales) * len(layout.ratios)
        yield (f"  param_str of each layer with a feat_stride: 'scales': {list(layout.scales)}, 'ratios': "
               f"{list(layout.ratios)}; num_output {2 * count} for rpn_cls_score, {4 * count} for rpn_bbox_pred, and "
               f"{2 * count} as the second dim of the Reshape of rpn_cls_prob")
    yield from (f"  python {shlex.join(words)}" for words in commands)


def _shares(counts: Sequence[int], total: int) -> list[str]:
    return [f"{count / max(total, 1):.1%}" for count in counts]


def _aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> Iterator[str]:
    """Lines of a table; columns are right-aligned, except those in `left`."""
    widths = np.array([[len(cell) for cell in row] for row in rows]).max(axis=0)
    for row in rows:
        cells = [cell.ljust(width) if column in left else cell.rjust(width)
                 for column, (cell, width) in enumerate(zip(row, widths, strict=True))]
        yield ("  " + "  ".join(cells)).rstrip()
