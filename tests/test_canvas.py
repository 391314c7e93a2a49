"""All images at one size on disk: at once, or each when it is first needed."""

import numpy as np
import pytest

from lmkit import canvas
from lmkit.config import InputError

FRAME = (12, 20)
NAMES = ["a", "b", "c", "d"]


class Source:
    """Pictures that count how often each is read."""

    def __init__(self):
        self.read_names = []

    def read(self, name):
        self.read_names.append(name)
        if name == "d":
            raise InputError("d: expected a readable image, got none")
        return np.full((24, 40), 10 * (1 + NAMES.index(name)), np.uint8)

    def size(self, name):
        return (24, 40)

    def open(self, names=NAMES, fingerprint="f", size=None):
        said = []
        made = canvas.open_canvas(
            names, self.read, size or self.size, fingerprint, FRAME, True, said.append
        )
        return made, said


@pytest.fixture
def lazily(monkeypatch, tmp_path):
    monkeypatch.setattr(canvas, "LAZY_FROM", 3)
    monkeypatch.setenv("LMKIT_CACHE", str(tmp_path))
    return Source()


def test_few_images_are_decoded_at_once_and_never_again(monkeypatch, tmp_path):
    monkeypatch.setenv("LMKIT_CACHE", str(tmp_path))
    source = Source()
    first, said = source.open(NAMES[:3])
    assert said == ["preparing 3 images, once"]
    assert sorted(source.read_names) == ["a", "b", "c"], "side by side, in whatever order"
    again, said = source.open(NAMES[:3])
    assert (said, sorted(source.read_names)) == ([], ["a", "b", "c"])
    assert first.batch(np.array([2, 0]))[:, 0, 5, 5].tolist() == [30, 10]
    assert again.batch(np.array([1])).shape == (1, 1, *FRAME)


def test_many_images_are_decoded_when_a_batch_asks_for_them(lazily):
    made, said = lazily.open()
    assert (said, lazily.read_names) == ([], [])
    assert made.batch(np.array([2, 0, 2]))[:, 0, 5, 5].tolist() == [30, 10, 30]
    assert sorted(lazily.read_names) == ["a", "c"]
    made.batch(np.array([0, 2]))
    again, _ = lazily.open()
    assert again.batch(np.array([0, 1, 2]))[:, 0, 5, 5].tolist() == [10, 20, 30]
    assert sorted(lazily.read_names) == ["a", "b", "c"], "another process reads what is there"


def test_late_decoding_gives_the_same_pixels_and_frames(lazily, monkeypatch):
    late, _ = lazily.open(fingerprint="late")
    monkeypatch.setattr(canvas, "LAZY_FROM", 100)
    early, _ = lazily.open(NAMES[:3], fingerprint="early")
    rows = np.arange(3)
    assert (late.batch(rows) == early.batch(rows)).all()
    assert (late.matrix[rows] == early.matrix).all()
    assert (late.source_hw[rows] == early.source_hw).all()


def test_an_image_that_cannot_be_read_stops_its_batch_and_no_other(lazily):
    made, _ = lazily.open()
    with pytest.raises(InputError, match="d: expected a readable image"):
        made.batch(np.array([0, 3]))
    assert made.batch(np.array([0, 1]))[:, 0, 5, 5].tolist() == [10, 20]


def test_a_header_that_lies_about_the_size_is_told(lazily):
    made, _ = lazily.open(size=lambda name: (48, 40))
    with pytest.raises(InputError, match=r"a: expected \(H, W\) \(48, 40\).*got \(24, 40\)"):
        made.batch(np.array([0]))


def test_a_half_made_file_is_made_again(lazily, tmp_path):
    made, _ = lazily.open()
    made.batch(np.array([0]))
    (folder,) = tmp_path.glob("*.lazy")
    (folder / "pixels.npy").unlink()
    again, _ = lazily.open()
    assert again.batch(np.array([0]))[0, 0, 5, 5] == 10
    assert lazily.read_names == ["a", "a"]
