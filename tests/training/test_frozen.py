"""Frozen encoders: features made once, stages, why which layers are frozen; the same weights however it was stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from steradian.data.preprocessing import Preprocessing
from steradian.errors import InputError, StorageError, UsageError
from steradian.models import Recognizer
from steradian.models.encoders import build_encoder, layers_of
from steradian.training import Recipe, RunFolder, load_data, make_plan, train
from steradian.training import features as room
from steradian.training.batches import Batch, Blend, Patch
from steradian.training.interrupts import Interrupted
from steradian.training.preflight import preflight
from steradian.training.run import make_stages, start
from steradian.training.stages import frozen_layers, stage_at, stage_progress

LITTLE = "mobilenetv3_small_050"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STERADIAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def digits():
    whole = load_data(recipe())
    few = replace(whole.splits, train=whole.splits.train[:120], validation=whole.splits.validation[:40])
    return replace(whole, splits=few)


def recipe(**changes) -> Recipe:
    settings = {"encoder": LITTLE, "data.image_size": 32, "training.epochs": 3, "training.batch_size": 40}
    return Recipe().changed(**{**settings, "training.freeze": "all", **changes})


def encoder_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.encoder.state_dict().items()}


def test_features_are_those_of_the_encoder_and_are_made_once(digits, tmp_path: Path, monkeypatch) -> None:
    wanted = recipe()
    plan = make_plan(wanted, digits)
    state = start(plan)
    stages, why = make_stages(plan), plan.frozen_because
    assert len(stages) == 1 and "frozen, as asked" in why and state.auxiliary is None
    batch = Batch(digits.splits.train[[5, 0, 17]], 3)
    state.model.eval()
    with torch.no_grad():
        expected = state.model.encoder(make_plan(wanted, digits).batches(digits.splits.train).images(batch))
    found = stages[0].train.inputs(batch)
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3)
    files = sorted((tmp_path / "cache" / "features").glob("*.npy"))
    assert len(files) == 2 and np.load(files[0]).dtype == np.float16

    monkeypatch.setattr(room, "_write", lambda *arguments: pytest.fail("made again"))
    make_stages(make_plan(wanted, digits))
    other = replace(digits, digest="of other images")
    for changed in ((wanted, other), (wanted.changed(**{"training.seed": 1}), digits)):
        with pytest.raises(pytest.fail.Exception, match="made again"):
            make_stages(make_plan(*changed))


@pytest.fixture(scope="module")
def colored(digits):
    pixels = replace(digits.pixels, pixels=np.repeat(digits.pixels.pixels, 3, axis=1))
    return replace(digits, pixels=pixels, preprocessing=Preprocessing(32, 3, (0.5,) * 3, (0.5,) * 3))


@pytest.mark.parametrize("stages", [0, 2])
def test_layers_above_cached_maps_learn_as_above_layers_that_compute_them(colored, tmp_path: Path, stages: int) -> None:
    settings = {"encoder": "tf_efficientnet_lite0", "stages": stages, "views": None, "training.deterministic": True}
    settings |= {"training.freeze": 6, "training.head_epochs": 1, "training.epochs": 2}
    cached, computed = (
        train(make_plan(recipe(**settings, **{"training.cached_maps": maps}), colored)) for maps in (True, False)
    )
    assert cached.history[-1]["train_loss"] == pytest.approx(computed.history[-1]["train_loss"], rel=1e-2)
    before = encoder_of(make_plan(recipe(**settings), colored).model)
    layers, after = layers_of(cached.model.encoder), encoder_of(cached.model)
    assert {layers[name] for name in layers if not torch.equal(after[name], before[name])} == {6, 7}
    shapes = {np.load(path).shape[1:] for path in (tmp_path / "cache" / "features").glob("*.npy")}
    assert (112, 2, 2) in shapes


def test_batch_norm_keeps_its_statistics_where_that_is_asked_for(colored) -> None:
    settings = {"encoder": "tf_efficientnet_lite0", "views": None, "training.freeze": 6, "training.epochs": 1}
    before = encoder_of(make_plan(recipe(**settings), colored).model)
    for keep in (True, False):
        plan = make_plan(recipe(**settings, **{"training.keep_statistics": keep}), colored)
        after = encoder_of(train(plan).model)
        assert not torch.equal(after["blocks.6.0.conv_pw.weight"], before["blocks.6.0.conv_pw.weight"])
        assert torch.equal(after["blocks.6.0.bn1.running_mean"], before["blocks.6.0.bn1.running_mean"]) == keep
    with pytest.raises(UsageError, match="there are none"):
        preflight(make_plan(recipe(**settings, **{"training.keep_statistics": True}), colored))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "lite0 and lite2 only"),
        ({"encoder": "tf_efficientnet_lite0", "training.freeze": 0}, "between 1 and 8"),
        ({"encoder": "tf_efficientnet_lite0", "progressive.views": 2}, "single views"),
        ({"encoder": "tf_efficientnet_lite0", "stages": 3, "training.freeze": 5}, "between 1 and 4 with stages: 3"),
    ],
)
def test_maps_that_cannot_be_cached_are_refused(colored, changes, message: str) -> None:
    settings = {"training.freeze": 3, "training.cached_maps": True, **changes}
    with pytest.raises(UsageError, match=message):
        make_plan(recipe(**settings), colored)


def test_features_of_another_pooling_are_not_taken(digits, tmp_path: Path) -> None:
    for pooling in ("average", "max"):
        wanted = recipe(pooling=pooling)
        plan = make_plan(wanted, digits)
        state = start(plan)
        stages = make_stages(plan)
        batch = Batch(digits.splits.train[:4], 4)
        with torch.no_grad():
            expected = state.model.eval().encoder(make_plan(wanted, digits).batches(digits.splits.train).images(batch))
        torch.testing.assert_close(stages[0].train.inputs(batch), expected, rtol=2e-3, atol=2e-3)
    assert len(list((tmp_path / "cache" / "features").glob("*.npy"))) == 4


def test_views_are_drawn_by_seed_and_step_and_training_uses_them(digits) -> None:
    wanted = recipe(**{"training.cached_views": 3})
    plan = make_plan(wanted, digits)
    batches = make_stages(plan)[0].train
    rows = digits.splits.train[:30]
    plain, first, again, second = (batches.inputs(Batch(rows, 30, step)) for step in (None, 1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, second)
    same = (first == plain).all(dim=1)
    assert 0 < int(same.sum()) < 30


def test_a_head_on_frozen_features_learns_and_the_encoder_does_not(digits) -> None:
    wanted = recipe(**{"training.epochs": 20, "training.cached_views": 2})
    fresh = encoder_of(start(make_plan(wanted, digits)).model)
    trained = train(make_plan(wanted, digits))
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in encoder_of(trained.model).items())
    assert trained.history[-1]["train_loss"] < 0.7 * trained.history[0]["train_loss"]


@pytest.fixture(scope="module")
def never_stopped(digits, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest):
    """Train without a stop; tests that stop at different steps compare with one training."""
    wanted = recipe(**{"training.cached_views": 2, **request.param})
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STERADIAN_CACHE", str(folder / "cache"))
        torch.manual_seed(0)
        return wanted, train(make_plan(wanted, digits), RunFolder(folder)).model.state_dict()


@pytest.mark.parametrize(
    "never_stopped",
    [{}, {"training.freeze": 3, "training.head_epochs": 1, "training.layer_decay": 0.7}],
    indirect=True,
)
@pytest.mark.parametrize("stop", [2, 4, 7])
def test_a_run_that_was_stopped_ends_in_the_same_weights(digits, tmp_path: Path, never_stopped, stop: int) -> None:
    wanted, whole = never_stopped

    def interrupt(step: int, total: int, note: str) -> None:
        if step == stop:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(make_plan(wanted, digits), RunFolder(tmp_path / "part"), on_batch=interrupt)
    resumed = train(make_plan(wanted, digits), RunFolder(tmp_path / "part")).model.state_dict()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in resumed.items())


def test_stages_unfreeze_and_have_schedules_of_their_own(digits) -> None:
    wanted = recipe(**{"training.freeze": 4, "training.head_epochs": 1, "training.layer_decay": 0.5})
    plan = make_plan(wanted, digits)
    state = start(plan)
    stages = make_stages(plan)
    count = max(layers_of(state.model.encoder).values()) + 1
    assert [(stage.until, stage.frozen) for stage in stages] == [(1, count), (3, 4)]
    steps = len(stages[0].train)
    assert [stage_at(stages, epoch).frozen for epoch in (0, 1, 2)] == [count, 4, 4]
    assert stage_progress(stages, 0, steps - 1) < 1 and stage_progress(stages, 1, 0) == 0.0
    assert stage_progress(stages, 2, 0) == pytest.approx(0.5)
    factors = {group["factor"] for group in state.optimizer.param_groups}
    assert {0.5, 0.25, 0.5**count} <= factors and state.auxiliary is not None
    fresh = encoder_of(state.model)
    model = train(make_plan(wanted, digits)).model
    layers = {name.rpartition(".")[0]: layer for name, layer in layers_of(model.encoder).items()}
    moved = {layers[n.rpartition(".")[0]] for n, t in encoder_of(model).items() if not torch.equal(t, fresh[n])}
    assert min(moved) == 4


def test_auto_freezes_what_has_too_many_parameters_for_the_images() -> None:
    encoder, _ = build_encoder("resnet10t", channels=3, size=64)
    sizes = [0] * (max(layers_of(encoder).values()) + 1)
    for name, layer in layers_of(encoder).items():
        sizes[layer] += encoder.get_parameter(name).numel()
    few, why = frozen_layers("auto", encoder, 100)
    assert few == len(sizes) and "over 100 for each of 100 training images" in why
    some, _ = frozen_layers("auto", encoder, sizes[-1] // 100 + 1)
    assert some == len(sizes) - 1
    none, why = frozen_layers("auto", encoder, 10**6)
    assert none == 0 and "no layer is frozen" in why
    assert frozen_layers(99, encoder, 5)[0] == len(sizes)


def test_a_full_disk_while_caching_is_a_sentence(digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(room.np.lib.format, "write_array_header_1_0", full)
    with pytest.raises(StorageError, match="The disk is full"):
        make_stages(make_plan(recipe(), digits))
    assert not list((tmp_path / "cache" / "features").glob("*.npy"))


@pytest.mark.parametrize("frozen", ["all", 0])
def test_blends_take_each_class_by_its_share(digits, frozen) -> None:
    wanted = recipe(**{"training.mixup": 1.0, "training.freeze": frozen, "training.epochs": 1})
    blend = Blend.drawn(1.0, 8, 5)
    again = Blend.drawn(1.0, 8, 5)
    assert blend.share == again.share and torch.equal(blend.partner, again.partner) and 0 < blend.share < 1
    samples = torch.randn(8, 3)
    torch.testing.assert_close(
        blend(samples)[2], blend.share * samples[2] + (1 - blend.share) * samples[blend.partner[2]]
    )
    first, second = (train(make_plan(wanted, digits)).history[0]["train_loss"] for _ in range(2))
    plain = train(make_plan(wanted.changed(**{"training.mixup": 0.0}), digits)).history[0]["train_loss"]
    assert first == second and abs(first - plain) > 1e-4


@pytest.mark.parametrize("frozen", ["all", 0])
def test_the_neck_does_not_see_features_that_are_dropped(digits, frozen) -> None:
    wanted = recipe(**{"training.dropout": 0.5, "training.freeze": frozen, "training.epochs": 1})
    first, second = (train(make_plan(wanted, digits)).history[0]["train_loss"] for _ in range(2))
    plain = train(make_plan(wanted.changed(**{"training.dropout": 0.0}), digits)).history[0]["train_loss"]
    assert first == second and abs(first - plain) > 1e-4


def test_a_mirrored_model_cannot_tell_left_from_right(digits, tmp_path: Path) -> None:
    trained = train(make_plan(recipe(flip_tta=True, **{"training.epochs": 1}), digits)).model
    images = torch.from_numpy(digits.pixels.pixels[:5])
    found = trained.embed(images, normalize=False)
    np.testing.assert_allclose(trained.embed(images.flip(3), normalize=False), found, rtol=1e-5, atol=1e-6)
    trained.spec = trained.spec.model_copy(update={"flip_tta": False})
    one, other = (trained.embed(some, normalize=False) for some in (images, images.flip(3)))
    np.testing.assert_allclose((one + other) / 2, found, rtol=1e-5, atol=1e-6)
    trained.spec = trained.spec.model_copy(update={"flip_tta": True})
    trained.save(tmp_path / "model")
    np.testing.assert_allclose(
        Recognizer.load(tmp_path / "model").embed(images, normalize=False), found, rtol=1e-5, atol=1e-6
    )


def test_a_box_of_another_image_has_the_share_that_its_class_has(digits) -> None:
    shares = []
    for seed in range(50):
        patch = Patch.cut(1.0, 8, 16, seed)
        samples = torch.arange(8.0)[:, None, None, None].expand(8, 2, 16, 16)
        found = patch(samples)
        own = (found == samples).float().mean(dim=(1, 2, 3))
        moved = patch.partner != torch.arange(8)
        torch.testing.assert_close(own[moved], torch.full((int(moved.sum()),), patch.share))
        assert (found[moved][found[moved] != samples[moved]] >= 0).all()
        shares.append(patch.share)
    assert min(shares) < 0.4 and max(shares) > 0.9
    wanted = recipe(**{"training.cutmix": 1.0, "training.freeze": 0, "training.epochs": 1})
    first, second = (train(make_plan(wanted, digits)).history[0]["train_loss"] for _ in range(2))
    plain = train(make_plan(wanted.changed(**{"training.cutmix": 0.0}), digits)).history[0]["train_loss"]
    assert first == second and abs(first - plain) > 1e-4


def test_blends_that_have_no_meaning_are_refused(digits) -> None:
    for changes, words in (
        ({"loss.name": "triplet"}, "compares pairs of images"),
        ({"loss.options": {"head": "tiled"}}, "Leave it at 0, or set head=dense"),
        ({"training.cutmix": 0.5}, "set one of them to 0"),
        (
            {"training.mixup": 0.0, "training.cutmix": 1.0, "training.freeze": "all"},
            "cached features of a frozen encoder",
        ),
        (
            {"training.mixup": 0.0, "training.cutmix": 1.0, "training.head_epochs": 1},
            "cached features of a frozen encoder",
        ),
    ):
        with pytest.raises(UsageError, match=words):
            preflight(make_plan(recipe(**{"training.mixup": 0.5, **changes}), digits))


def test_stages_join_the_features_and_the_artifact_remembers(digits, tmp_path: Path) -> None:
    plain, few = build_encoder(LITTLE, channels=3, size=32)
    staged, many = build_encoder(LITTLE, channels=3, size=32, stages=2)
    assert many > few and staged.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, many)
    assert {name.removeprefix("model.") for name in layers_of(staged)} == set(layers_of(plain))
    staged.model.load_state_dict(plain.state_dict())
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(staged.eval()(images)[:, -few:], plain.eval()(images))
    trained = train(make_plan(recipe(**{"stages": 2, "training.epochs": 1}), digits)).model
    trained.save(tmp_path / "m")
    again = Recognizer.load(tmp_path / "m")
    pixels = torch.from_numpy(np.ascontiguousarray(digits.pixels.pixels[:3]))
    np.testing.assert_allclose(again.embed(pixels), trained.embed(pixels), rtol=1e-5, atol=1e-6)
    assert again.spec.stages == 2
    with pytest.raises(InputError, match="'small' has no stages"):
        build_encoder("small", channels=1, size=28, stages=1)


def test_a_grid_keeps_where_a_feature_is() -> None:
    whole, few = build_encoder(LITTLE, channels=3, size=64, stages=3)
    cells, many = build_encoder(LITTLE, channels=3, size=64, stages=3, grid=4)
    cells.load_state_dict(whole.state_dict())
    # Maps of 16, 8, 4 and 2 places a side: the last two have fewer than two a cell.
    assert len(cells.sizes) < len(whole.sizes) and many > few - whole.sizes[-2]
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        found, averages = cells.eval()(images), whole.eval()(images)
        mirrored = cells(images.flip(3))
    first = found[:, : cells.sizes[0]].unflatten(1, (-1, 16))
    torch.testing.assert_close(first.mean(dim=2), averages[:, : first.shape[1]])
    assert (first - mirrored[:, : cells.sizes[0]].unflatten(1, (-1, 16))).abs().max() > 1e-3
    for name, stages in (("small", 1), (LITTLE, 0)):
        with pytest.raises(InputError, match="grid: 4 averages stages"):
            build_encoder(name, channels=3, size=64, stages=stages, grid=4)
