"""Worker processes that prepare images: same pixels, errors that name the image, no leftovers however they end."""
import gc
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from process_helpers import is_running, wait_until

from roi_data_layer.image_pool import ImagePool, ImageWorkerDied
from utils.images import ImageError, ImageRequest, most_pixels, prepare_image, read_in_line

LIB = Path(__file__).resolve().parents[3] / "lib"


@pytest.fixture
def photographs(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{index} \N{SNOWMAN}.png" for index in range(4)]
    for index, path in enumerate(paths):
        path.write_bytes(cv2.imencode(".png", rng.integers(0, 255, (30 + index, 47, 3)).astype(np.uint8))[1])
    return paths


@pytest.fixture
def pool():
    pool = ImagePool(2, images=2, pixels=most_pixels([40, 55], 80))
    yield pool
    pool.close()


def request_for(path, flipped=False, size=40):
    return ImageRequest(str(path), flipped, size, 80, [102.9801, 115.9465, 122.7717], [57.1, 58.2, 59.3])


def assert_same(got, want):
    np.testing.assert_array_equal(got.pixels, want.pixels)
    assert got.pixels.dtype == np.float32
    assert got[1:] == want[1:]


def test_the_images_are_those_prepared_in_line(pool, photographs):
    requests = [request_for(photographs[0], True), request_for(photographs[1], False, 55)]
    with pool.read(requests) as images, read_in_line(requests) as wanted:
        for got, want in zip(images, wanted, strict=True):
            assert_same(got, want)
    assert images[0].file_size == (30, 47) and images[1].pixels.shape == (53, 80, 3)     # limited by max_size


def test_many_threads_get_the_images_they_asked_for(pool, photographs):
    wanted = [prepare_image(request_for(path)) for path in photographs]

    def read(number):
        with pool.read([request_for(photographs[number % 4]), request_for(photographs[(number + 1) % 4])]) as images:
            assert_same(images[0], wanted[number % 4])
            assert_same(images[1], wanted[(number + 1) % 4])

    with ThreadPoolExecutor(5) as threads:
        list(threads.map(read, range(40)))


def test_the_largest_image_has_room(pool, tmp_path):
    path = tmp_path / "square.png"
    cv2.imwrite(str(path), np.full((300, 300, 3), 9, np.uint8))
    request = ImageRequest(str(path), False, 55, 80, [1.0], [1.0])
    with pool.read([request, request]) as images:
        assert_same(images[1], prepare_image(request))
    assert most_pixels([600], 1000) == 600_000 and most_pixels([600, 1200], 1000) == 1_000_000
    with pytest.raises(ValueError, match="3 images requested at once, there is room for 2"), \
            pool.read([request] * 3):
        pass


def test_an_unreadable_image_is_named_and_the_process_continues(pool, photographs):
    before = pool.process_ids
    photographs[2].write_bytes(b"not an image")
    for _ in range(2):
        with pytest.raises(ImageError, match="2 \N{SNOWMAN}.png: the image is missing or broken"), \
                pool.read([request_for(photographs[0]), request_for(photographs[2])]):
            pass
    with pool.read([request_for(photographs[3])]) as (image,):
        assert_same(image, prepare_image(request_for(photographs[3])))
    assert pool.process_ids == before and all(map(is_running, before))


def test_a_bug_keeps_its_traceback(pool, photographs):
    with pytest.raises(RuntimeError, match=r"(?s)0 .*png: preparing the image failed.*Traceback.*prep_im_for_blob"), \
            pool.read([request_for(photographs[0], size="large")]):
        pass
    with pool.read([request_for(photographs[1])]) as (image,):
        assert image.file_size == (31, 47)


def test_a_process_that_died_is_reported_with_its_image_and_replaced(photographs):
    pool, request = ImagePool(1, images=1, pixels=3200), request_for(photographs[1])
    (first,) = pool.process_ids
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not is_running(first))
    with pytest.raises(ImageWorkerDied, match="1 .*png: the process .* died .killed by SIGKILL, perhaps out of"), \
            pool.read([request]):
        pass
    for _ in range(2):
        with pool.read([request]) as (image,):
            assert_same(image, prepare_image(request))
    (second,) = pool.process_ids
    assert second != first
    pool.close()
    assert not is_running(second)


def memory_maps():
    return Path("/proc/self/maps").read_text().count("memfd:images")


def test_closing_ends_the_processes_and_frees_the_memory(photographs):
    gc.collect()
    before = memory_maps()
    pool = ImagePool(1, images=1, pixels=3200)
    (process,) = pool.process_ids
    with pool.read([request_for(photographs[0])]):
        assert memory_maps() == before + 1
    pool.close()
    assert not is_running(process)
    with pytest.raises(RuntimeError, match="have been stopped"), pool.read([]):
        pass
    del pool
    assert memory_maps() == before


def test_a_forgotten_pool_ends_too():
    pool = ImagePool(1, images=1, pixels=3200)
    (process,) = pool.process_ids
    del pool
    gc.collect()
    wait_until(lambda: not is_running(process))


PARENT = """
import sys, time; sys.path.insert(0, {lib!r})
from roi_data_layer.image_pool import ImagePool
from utils.images import ImageRequest
pool = ImagePool(2, 1, 4000)
with pool.read([ImageRequest({image!r}, False, 40, 80, [1.0], [1.0])]):
    print(*pool.process_ids, flush=True)
    {last}
"""


@pytest.mark.parametrize("last, number, complaint", [
    ("sys.exit(0)", None, ""), ("raise ValueError('a bug')", None, "ValueError: a bug"),
    ("time.sleep(60)", signal.SIGKILL, ""), ("time.sleep(60)", signal.SIGTERM, ""),
    ("time.sleep(60)", signal.SIGINT, "KeyboardInterrupt")])
def test_the_processes_end_with_their_parent(photographs, last, number, complaint):
    code = PARENT.format(lib=str(LIB), image=str(photographs[0]), last=last)
    parent = subprocess.Popen([sys.executable, "-X", "dev", "-c", code], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, start_new_session=True)
    with parent:
        processes = [int(word) for word in parent.stdout.readline().split()]
        assert len(processes) == 2
        if number:
            os.killpg(parent.pid, number)       # like Ctrl-C, which reaches all processes of the terminal's job
        errors = parent.stderr.read().splitlines()
        parent.wait(20)
    wait_until(lambda: not any(map(is_running, processes)))
    assert errors[-1:] == ([complaint] if complaint else []) and "Warning" not in " ".join(errors)


def test_the_processes_import_little():
    code = f"import sys; sys.path.insert(0, {str(LIB)!r}); import roi_data_layer.image_worker; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "cv2" in modules and not {"torch", "caffe", "yaml", "fast_rcnn", "datasets"} & set(modules)
