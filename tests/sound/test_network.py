"""ONNX files that are taken in, and those that are refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from segue.core.errors import BadInput, NotFound, NotReady
from segue.core.types import Float32
from segue.sound.concatenated import Concatenated
from segue.sound.importing import read_network
from segue.sound.lda import ClipLda
from segue.sound.network import BATCH, Network, NetworkSpec, cut
from segue.sound.network_encoder import Pooling, Pretrained
from segue.sound.onnx_graph import Graph
from segue.sound.spectrogram import BANDS
from segue.wiring import encoder_of

FRAMES = 20


def colour(order: tuple[int, int], channel: int | None = None) -> bytes:
    """A network that says the mean of each band of a patch, for an input (patches, *order), with a channel axis at a place."""
    sizes: list[int] = list(order)
    if channel is not None:
        sizes.insert(channel, 1)
    graph = Graph("patch", *sizes)
    flat = graph.node("Reshape", "patch", graph.constant([-1, *order]))
    rows = graph.node("ReduceMean", flat, axes=[1 if order[0] == FRAMES else 2], keepdims=0)
    return graph.build({"bands": (rows, BANDS)}, {})


def songs(count: int) -> list[Float32]:
    rng = np.random.default_rng(0)
    return [(rng.uniform(0, 3, BANDS) + rng.normal(0, 0.2, (FRAMES * 5 + 3, BANDS))).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("channel", [None, 0, 2])
@pytest.mark.parametrize("order", [(FRAMES, BANDS), (BANDS, FRAMES)])
def test_any_order_of_axes_is_understood(order: tuple[int, int], channel: int | None) -> None:
    network = Network(colour(order, channel), NetworkSpec("colour", ("bands",), frames=FRAMES))
    patches = np.random.default_rng(1).normal(size=(2 * BATCH + 1, FRAMES, BANDS)).astype(np.float32)
    np.testing.assert_allclose(network.embed(patches), patches.mean(axis=1), atol=1e-6)
    assert network.embed(patches[:0]).shape == (0, BANDS)


def test_outputs_stand_side_by_side_in_their_order() -> None:
    graph = Graph("patch", FRAMES, BANDS)
    low, high = (graph.node(f"Reduce{kind}", "patch", axes=[1], keepdims=0) for kind in ("Min", "Max"))
    model = graph.build({"low": (low, BANDS), "high": (high, BANDS)}, {})
    patch = songs(1)[0][None, :FRAMES]
    rows = Network(model, NetworkSpec("both", ("high", "low"), frames=FRAMES)).embed(patch)
    np.testing.assert_array_equal(rows[0], np.concatenate([patch[0].max(axis=0), patch[0].min(axis=0)]))


def test_what_does_not_fit_is_refused_with_the_reason() -> None:
    model = colour((FRAMES, BANDS))
    for bad, spec, says in (
        (b"no onnx", NetworkSpec("n", ("bands",), FRAMES), "expected an ONNX file"),
        (model, NetworkSpec("n", ("other",), FRAMES), "no output 'other'; the file has bands"),
        (model, NetworkSpec("n", ("bands",), 187), "expected patches of 187 frames by 96 bands"),
        (model, NetworkSpec("n", ("bands",), FRAMES, input={"rate": 22050}), "rate = 22050; Segue's spectrograms have 16000"),
        (model, NetworkSpec("n", (), FRAMES), "at least one output"),
        (model, NetworkSpec("n", ("bands",), FRAMES, groups=(1, 1)), "groups that add up to the 1 outputs, found \\[1, 1\\]"),
        (model, NetworkSpec("n", ("bands",), FRAMES, groups=(0, 1)), "groups that add up"),
    ):
        with pytest.raises(BadInput, match=says):
            Network(bad, spec)


def test_a_network_whose_rows_are_not_numbers_is_refused() -> None:
    graph = Graph("patch", FRAMES, BANDS)
    model = graph.build({"bands": (graph.node("Log", graph.node("ReduceMean", "patch", axes=[1], keepdims=0)), BANDS)}, {})
    with pytest.raises(BadInput, match="finite"):
        Network(model, NetworkSpec("n", ("bands",), FRAMES))


def test_an_onnx_file_comes_with_a_manifest_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "colour.onnx"
    with pytest.raises(NotFound, match="no file"):
        read_network(path)
    path.write_bytes(colour((FRAMES, BANDS)))
    with pytest.raises(NotFound, match="no manifest"):
        read_network(path)
    (tmp_path / "colour.onnx.json").write_text('{"name": "colour", "output": "bands"}')
    with pytest.raises(BadInput, match="a manifest is such as"):
        read_network(path)
    (tmp_path / "colour.onnx.json").write_text(json.dumps({"name": "colour", "outputs": ["bands"], "frames": FRAMES}))
    assert read_network(path)[1] == NetworkSpec("colour", ("bands",), FRAMES)


def test_a_short_song_is_repeated_and_a_rest_left_out() -> None:
    short = np.arange(3 * BANDS, dtype=np.float32).reshape(3, BANDS)
    np.testing.assert_array_equal(cut(short, 7)[0], short[[0, 1, 2, 0, 1, 2, 0]])
    assert cut(np.zeros((3 * FRAMES - 1, BANDS), np.float32), FRAMES).shape == (2, FRAMES, BANDS)


def test_the_mean_of_the_library_says_nothing_and_constant_rows_have_no_say() -> None:
    encoder = Pretrained(Pooling(head="mean")).serve(colour((FRAMES, BANDS)), NetworkSpec("colour", ("bands",), FRAMES))
    library = songs(6)
    for song in library:
        song[:, 7] = 2.5
    encoder.fit(library, np.random.default_rng(0))
    own = encoder.encode(library[2])
    rows = np.stack([cut(song, FRAMES).mean(axis=1) for song in library])
    wanted = (rows[2].mean(axis=0) - rows.mean(axis=(0, 1))) / np.maximum(rows.std(axis=(0, 1)), 1e-6)
    wanted[7] = 0
    np.testing.assert_allclose(own, wanted / np.linalg.norm(wanted), atol=2e-5)
    again = Pretrained().load(encoder.arrays(), encoder.manifest())
    np.testing.assert_array_equal(again.encode(library[2]), own)


def test_what_each_network_of_a_file_says_is_pooled_by_itself() -> None:
    """One file with two networks gives what two files with one each give, side by side; it is stored and read again whole."""
    library = [np.tile(song, (3, 1)) for song in songs(9)]
    rng = np.random.default_rng(0)

    def both(*named: str) -> bytes:
        graph = Graph("patch", FRAMES, BANDS)
        rows = {"high": graph.node("ReduceMax", "patch", axes=[1], keepdims=0)}
        rows |= {"mean": graph.node("ReduceMean", "patch", axes=[1], keepdims=0)}
        rows |= {"low": graph.node("ReduceMin", "patch", axes=[1], keepdims=0)}
        return graph.build({name: (rows[name], BANDS) for name in named}, {})

    pooling = Pooling(size=5)
    spec = NetworkSpec("both", ("high", "low", "mean"), FRAMES, groups=(2, 1))
    one_file = Pretrained(pooling).serve(both("high", "low", "mean"), spec).fit(library, rng)
    outputs = (("high", "low"), ("mean",))
    files = [Pretrained(pooling).serve(both(*named), NetworkSpec("n", named, FRAMES)).fit(library, rng) for named in outputs]
    assert one_file.dimension == 10
    for song in library:
        wanted = np.concatenate([each.encode(song) for each in files]) / np.sqrt(2)
        np.testing.assert_allclose(one_file.encode(song), wanted, atol=1e-6)
        assert np.linalg.norm(one_file.encode(song)) == pytest.approx(1)
    stored = encoder_of(one_file.manifest(), one_file.arrays())
    np.testing.assert_array_equal(stored.encode(library[3]), one_file.encode(library[3]))
    assert stored.manifest()["version"] == one_file.manifest()["version"]
    assert "groups" not in files[1].manifest()["network"], "versions of before there were groups stay as they were"  # type: ignore[operator]


def test_of_a_long_song_so_many_patches_are_heard_to_learn() -> None:
    """Patches differ by place, and 4 of 10 evenly spread are the ends and two between; manifests of before heard all."""
    library = [np.repeat(np.arange(10.0) * song[0, :1] + song[:1].mean(), FRAMES)[:, None] + song[:1] for song in songs(6)]
    network = colour((FRAMES, BANDS)), NetworkSpec("colour", ("bands",), FRAMES)
    few = (
        Pretrained(Pooling(head="mean", patches=4))
        .serve(*network)
        .fit([s.astype(np.float32) for s in library], np.random.default_rng(0))
    )
    rows = np.stack([s[[0, 3 * FRAMES, 6 * FRAMES, 9 * FRAMES]] for s in library]).astype(np.float32)
    assert few.centre_ is not None
    np.testing.assert_allclose(few.centre_, rows.mean(axis=(0, 1)), rtol=1e-4)
    old = few.manifest()
    del old["hyperparameters"]["patches"]  # type: ignore[attr-defined]
    again = Pretrained().load(few.arrays(), old)
    assert again.pooling.patches == 0
    assert "patches" not in again.manifest()["hyperparameters"]  # type: ignore[operator]


def test_a_concatenated_cosine_is_the_weighted_mean_of_the_cosines() -> None:
    library = [np.tile(song, (6, 1)) for song in songs(12)]
    network = colour((FRAMES, BANDS)), NetworkSpec("colour", ("bands",), FRAMES)
    parts = [ClipLda(size=4), Pretrained(Pooling(head="mean")).serve(*network)]
    both = Concatenated(parts, weights=[1, 2]).fit(library, np.random.default_rng(0))
    cosines = [float(part.encode(library[0]) @ part.encode(library[1])) for part in parts]
    assert both.encode(library[0]) @ both.encode(library[1]) == pytest.approx((cosines[0] + 4 * cosines[1]) / 5, abs=1e-5)
    stored = encoder_of(both.manifest(), both.arrays())
    np.testing.assert_array_equal(stored.encode(library[3]), both.encode(library[3]))
    with pytest.raises(BadInput, match="expected an encoder of"):
        Concatenated([ClipLda()]).load(both.arrays(), both.manifest())
    with pytest.raises(BadInput, match="one positive weight"):
        Concatenated(parts, weights=[1, 0])


def test_without_a_network_it_says_so() -> None:
    with pytest.raises(NotReady, match="segue encoder import"):
        Pretrained().encode(songs(1)[0])
