"""Prefetching: order, errors, jumps, closing."""
import threading
import time

import pytest

from roi_data_layer.prefetch import Prefetcher


def slow_square(number):
    time.sleep(0.002 * (number % 3))
    return number * number


def test_items_come_in_order():
    prefetcher = Prefetcher(slow_square, workers=3, ahead=5)
    assert [prefetcher.next() for _ in range(20)] == [n * n for n in range(20)]
    prefetcher.seek(7)
    assert [prefetcher.next() for _ in range(3)] == [49, 64, 81]
    prefetcher.close()


def test_items_are_prepared_ahead_but_not_without_limit():
    asked, enough = [], threading.Event()

    def make(number):
        asked.append(number)
        if number == 4:
            enough.set()
        return number

    prefetcher = Prefetcher(make, workers=1, ahead=4)
    assert prefetcher.next() == 0
    assert enough.wait(5)
    prefetcher.close()
    assert max(asked) == 4


def test_an_error_surfaces_with_its_item_and_the_rest_continues():
    def make(number):
        if number == 2:
            raise ValueError("image two.jpg is broken")
        return number

    prefetcher = Prefetcher(make)
    assert [prefetcher.next(), prefetcher.next()] == [0, 1]
    with pytest.raises(ValueError, match="two.jpg"):
        prefetcher.next()
    assert prefetcher.next() == 3
    prefetcher.close()


def test_nothing_is_made_after_the_last_item():
    asked = []
    prefetcher = Prefetcher(lambda number: asked.append(number), ahead=4, count=3)
    for _ in range(3):
        prefetcher.next()
    with pytest.raises(IndexError, match="item 3 of 3"):
        prefetcher.next()
    prefetcher.close()
    assert sorted(asked) == [0, 1, 2]


def test_closing_ends_the_threads():
    before = threading.active_count()
    prefetcher = Prefetcher(slow_square)
    prefetcher.next()
    assert threading.active_count() > before
    prefetcher.close()
    assert threading.active_count() == before
    with pytest.raises(RuntimeError):
        prefetcher.next()
