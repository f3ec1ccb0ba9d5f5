"""The trace: files that come back equal, damage that is noticed, and every rule of `trace_check` broken once."""

import json
import pickle
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from broken_traces import BROKEN, COUNTED, GRADED, TRANSFORMER
from hypothesis import given, settings
from hypothesis import strategies as st
from sparsespike import load_chip, simulate
from sparsespike.simulator.builder import Builder, Style
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.files import save_tensors
from sparsespike.simulator.synthetic import synthetic_trace, workload
from sparsespike.simulator.trace import KIND, VERSION, Attention, Events, Select, Weights, load_trace, save_trace


def same(left, right):
    """Equality through dataclasses, mappings, tuples and arrays, types included."""
    assert type(left) is type(right), (type(left), type(right))
    if isinstance(left, np.ndarray):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    elif is_dataclass(left):
        for item in fields(left):
            same(getattr(left, item.name), getattr(right, item.name))
    elif isinstance(left, dict):
        assert list(left) == list(right)
        for key in left:
            same(left[key], right[key])
    elif isinstance(left, tuple):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            same(one, other)
    else:
        assert left == right


def test_a_copy_for_another_process_is_the_content_alone():
    trace = synthetic_trace()
    report = simulate(trace, load_chip("edge")).to_json()
    assert trace.derived
    copy = pickle.loads(pickle.dumps(trace))
    assert not copy.derived
    assert copy.sha256 == trace.sha256
    same(copy, trace)
    assert simulate(copy, load_chip("edge")).to_json() == report


# ---- files ----


@pytest.mark.parametrize("trace", [TRANSFORMER, GRADED, COUNTED], ids=["transformer", "graded", "counted"])
def test_a_file_gives_the_trace_back(trace, tmp_path):
    digest = save_trace(trace, tmp_path / "one.safetensors")
    back = load_trace(tmp_path / "one.safetensors")
    same(back, trace)
    assert digest == trace.sha256 == back.sha256
    save_trace(back, tmp_path / "two.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()


def test_labels_and_provenance_are_part_of_the_file(tmp_path):
    trace = replace(TRANSFORMER, labels=TRANSFORMER.logits.argmax(1), provenance={"origin": "here"})
    save_trace(trace, tmp_path / "t.safetensors")
    same(load_trace(tmp_path / "t.safetensors"), trace)
    assert trace.accuracy() == 1.0
    assert TRANSFORMER.accuracy() is None
    assert trace.sha256 != TRANSFORMER.sha256


def test_logits_without_a_head_count_the_tokens_that_are_left():
    """And no shadow of those that were dropped."""
    builder = Builder(Style(timesteps=2, weight_density=1.0, spike_density=0.5, seed=1))
    given = builder.spikes("given", builder.rng.integers(0, 2, (1, 2, 6, 4)), 2, 3)
    stream = builder.linear("last", builder.select("choice", given, 2, "rate"), 5)
    builder.count()
    trace = builder.trace()
    left = builder.dense[stream][0][:, trace.kept[0][0]]
    assert trace.logits.tolist() == [left.sum((0, 1)).tolist()] != [builder.dense[stream][0].sum((0, 1)).tolist()]
    with pytest.raises(UserError, match=r"not what 'last\.out' adds up to"):
        replace(trace, logits=builder.dense[stream].sum((1, 2), dtype=np.int64))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "t.safetensors"
    save_trace(GRADED, path)
    return path


def test_every_truncation_is_noticed(saved):
    whole = saved.read_bytes()
    for length in (0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:length])
        with pytest.raises(UserError, match="truncated"):
            load_trace(saved)


def test_every_flipped_bit_is_noticed(saved):
    whole = saved.read_bytes()
    rng = np.random.default_rng(0)
    for position in range(0, len(whole), 5):
        broken = bytearray(whole)
        broken[position] ^= 1 << int(rng.integers(8))
        saved.write_bytes(broken)
        with pytest.raises(UserError, match=str(saved)):
            load_trace(saved)


def test_a_newer_version_says_so(saved):
    save_tensors(saved, KIND, VERSION + 1, {}, {})
    with pytest.raises(UserError, match=f"version {VERSION + 1} is newer"):
        load_trace(saved)


def test_another_kind_says_so(saved):
    save_tensors(saved, "ticket", VERSION, {}, {})
    with pytest.raises(UserError, match="holds a ticket, but a trace is needed"):
        load_trace(saved)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_trace(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("header", [{}, {"streams": []}, {"streams": [{"kind": "binary"}], "layers": []}, [], None])
def test_a_sound_file_with_a_senseless_header_is_refused(saved, header):
    save_tensors(saved, KIND, VERSION, {}, header)
    with pytest.raises(UserError, match="not a valid trace"):
        load_trace(saved)


def test_a_rule_broken_inside_a_file_names_the_file(saved):
    tensors = {}
    header = {
        "numerics": vars(GRADED.numerics),
        "streams": [],
        "layers": [],
        "images": 0,
        "selectors": 0,
        "shadow": True,
        "provenance": {},
    }
    save_tensors(saved, KIND, VERSION, tensors, json.loads(json.dumps(header)))
    with pytest.raises(UserError, match=f"{saved}: a trace needs at least one image"):
        load_trace(saved)


# ---- dense and sparse ----

QUICK = settings(derandomize=True, max_examples=60, deadline=None)


@QUICK
@given(st.integers(0, 2**31), st.integers(1, 9), st.integers(1, 12), st.sampled_from([1, 2, 255]), st.floats(0, 1))
def test_events_and_dense_arrays_are_the_same(seed, rows, channels, largest, density):
    rng = np.random.default_rng(seed)
    dense = ((rng.random((rows, channels)) < density) * rng.integers(1, largest + 1, (rows, channels))).astype(np.uint8)
    events = Events.from_dense(dense)
    np.testing.assert_array_equal(events.to_dense(channels), dense)
    assert (events.values is None) == (dense.max(initial=0) <= 1)
    assert len(events.channels) == np.count_nonzero(dense)
    for row in range(rows):
        np.testing.assert_array_equal(
            events.channels[events.offsets[row] : events.offsets[row + 1]], np.flatnonzero(dense[row])
        )


@QUICK
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3]), st.floats(0, 1))
def test_weights_and_dense_arrays_are_the_same(seed, outputs, inputs, kernel, density):
    rng = np.random.default_rng(seed)
    shape = (outputs, inputs) if kernel == 1 else (outputs, inputs, kernel, kernel)
    dense = rng.integers(-127, 128, shape) * (rng.random(shape) < density)
    weights = Weights.from_dense(dense)
    np.testing.assert_array_equal(weights.to_dense(), dense.reshape(outputs, inputs, -1))
    assert weights.size == dense.size
    assert weights.nonzeros == np.count_nonzero(dense)
    at = 0
    for row, (channel, tap) in enumerate(np.ndindex(inputs, kernel * kernel)):
        column = dense.reshape(outputs, inputs, -1)[:, channel, tap]
        assert (weights.pointers[row], weights.pointers[row + 1]) == (at, at + np.count_nonzero(column))
        np.testing.assert_array_equal(weights.outputs[at : weights.pointers[row + 1]], np.flatnonzero(column))
        at = weights.pointers[row + 1]


def test_the_first_images_stand_alone():
    one = TRANSFORMER.first(1)
    assert one.images == 1
    for name, stream in one.streams.items():
        if stream.events:
            whole = TRANSFORMER.streams[name]
            rows = len(stream.events.offsets) - 1
            assert rows == 2 * stream.tokens
            np.testing.assert_array_equal(
                stream.events.to_dense(stream.channels), whole.events.to_dense(whole.channels)[:rows]
            )
    same(TRANSFORMER.first(9), TRANSFORMER)


def test_synthetic_traces_are_seeded():
    recipe = {"height": 4, "width": 4, "sps": (4, 4), "depth": 1}
    assert synthetic_trace(seed=1, **recipe).sha256 == synthetic_trace(seed=1, **recipe).sha256
    assert synthetic_trace(seed=1, **recipe).sha256 != synthetic_trace(seed=2, **recipe).sha256


def test_a_trace_without_shadow_is_empty_on_dropped_tokens():
    trace = synthetic_trace(seed=3, depth=2, keep=0.5, shadow=False)
    layer = trace.layer("block1.fc2")
    stream = trace.streams[layer.target]
    dense = stream.events.to_dense(stream.channels).reshape(-1, stream.tokens, stream.channels)
    kept = trace.kept_mask(0, stream.tokens)[0]
    assert not dense[:, ~kept].any()
    assert dense[:, kept].any()


@pytest.mark.slow
def test_the_named_workload_is_as_promised():
    trace = workload("spikformer")
    assert [kept.shape[1] for kept in trace.kept] == [44, 31, 21]
    assert trace.streams[trace.layer("block0.qkv").source].tokens == 64
    spikes = neurons = 0
    for stream in trace.streams.values():
        if stream.kind == "binary" and not stream.name.startswith("pool"):
            spikes += len(stream.events.channels)
            neurons += (len(stream.events.offsets) - 1) * stream.channels
    assert spikes / neurons == pytest.approx(0.149, abs=0.01)
    weights = [layer.weights for layer in trace.layers if hasattr(layer, "weights")]
    share = sum(one.nonzeros for one in weights) / sum(one.size for one in weights)
    assert share == pytest.approx(0.1, abs=0.01)
    with pytest.raises(UserError, match="did you mean 'spikformer'"):
        workload("spikeformer")


# ---- broken traces ----


def test_the_sound_traces_hold_what_the_table_breaks():
    assert isinstance(TRANSFORMER.layer("select1"), Select)
    assert isinstance(TRANSFORMER.layer("block0.attention"), Attention)
    assert [kept.shape for kept in TRANSFORMER.kept] == [(2, 2), (2, 1)]
    assert GRADED.streams["input"].events.values.max() > 1


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_refused(name):
    build, message = BROKEN[name]
    with pytest.raises(UserError, match=message.replace("(", r"\(").replace(")", r"\)")):
        build()
