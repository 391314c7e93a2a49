"""Mirror images: in training, with the maps that change places, and at test time."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import TINY, write_native
from PIL import Image

from lmkit import evaluate, stages
from lmkit.batches import Feed, canvas_for
from lmkit.config import InputError, make_config
from lmkit.data import open_for
from lmkit.samples import line_up

CPU = torch.device("cpu")


@pytest.mark.parametrize("rows", [[0], [4, 1, 3]])
def test_a_mirrored_image_shows_each_sides_points_under_the_others_maps(native, rows):
    settings = TINY | {"dataset": str(native), "side": "joint", "augment": "mirror"}
    config = make_config(settings)
    dataset = open_for(config)
    feed = Feed(line_up(dataset, "joint"), canvas_for(dataset, config), config, CPU)
    plain = feed.batch(np.array(rows))
    seen = set()
    for seed in range(6):
        mixed = feed.batch(np.array(rows), torch.Generator().manual_seed(seed))
        for i in range(len(rows)):
            flipped = not torch.allclose(mixed.points[i], plain.points[i])
            image, points = plain.images[i], plain.points[i]
            if flipped:
                image = image.flip(-1)
                points = points[[2, 3, 0, 1]] * torch.tensor([-1, 1]) + torch.tensor([63, 0])
            assert torch.allclose(mixed.images[i], image, atol=1e-4)
            assert torch.allclose(mixed.points[i], points, atol=1e-4)
            seen.add(flipped)
    assert seen == {False, True}


def test_mirror_pairs_say_which_landmarks_change_places(tmp_path):
    folder = write_native(tmp_path / "plain" / "crosses", sides=())
    about = yaml.safe_load((folder / "dataset.yaml").read_text())
    settings = TINY | {"dataset": str(folder), "augment": "mirror+affine"}
    with pytest.raises(InputError, match=r"augment: expected no mirror.*mirror_pairs"):
        stages.train_run(make_config(settings | {"outputs": str(tmp_path / "out")}))
    assert not (tmp_path / "out").exists()
    (folder / "dataset.yaml").write_text(
        yaml.safe_dump(about | {"mirror_pairs": [["tip", "base"]]})
    )
    assert line_up(open_for(make_config(settings)), "right").partner.tolist() == [1, 0]


def test_one_side_alone_has_no_mirror_image(native):
    assert line_up(open_for(make_config(TINY | {"dataset": str(native)})), "right").partner is None


def test_test_time_mirroring_makes_predictions_that_mirror_with_the_image(tiny, tmp_path):
    settings = tiny | {"side": "joint", "augment": "mirror", "tta": "mirror"}
    run = stages.train_run(make_config(settings), log=lambda _line: None)
    plain, turned = tmp_path / "a.png", tmp_path / "b.png"
    Image.open(Path(tiny["dataset"]) / "images" / "p00.png").resize((128, 64)).save(plain)
    Image.open(plain).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(turned)
    table = evaluate.predict(run, [plain, turned]).set_index(["image", "side", "landmark"])
    straight, back = table.loc[str(plain)], table.loc[str(turned)]
    for side, other in (("left", "right"), ("right", "left")):
        there = back.loc[other]
        assert straight.loc[side, "x"].to_numpy() == pytest.approx(127 - there["x"], abs=1e-3)
        assert straight.loc[side, "y"].to_numpy() == pytest.approx(there["y"], abs=1e-3)
