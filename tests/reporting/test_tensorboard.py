"""Event files: readable by TensorBoard's own reader, one step each, never doubled."""

import io

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tfpdu.reporting import TensorBoardWriter, rebuild_tensorboard

STEP = {"event": "iteration", "iteration": 0, "test_accuracy": 0.65, "n_original": 5000, "retain_accuracy": None}
ROW = {"iteration": 0, "attack": "m_loss", "protocol": "holdout", "population": "forgotten", "success_rate": 0.61}


def read(directory):
    events = EventAccumulator(str(directory), size_guidance={"tensors": 0})
    events.Reload()
    return events


def numbers(events, tag):
    return [
        (
            e.step,
            round(
                float(
                    e.tensor_proto.float_val[0]
                    if e.tensor_proto.float_val
                    else np.frombuffer(e.tensor_proto.tensor_content, np.float32)[0]
                ),
                6,
            ),
        )
        for e in events.Tensors(tag)
    ]


def test_scalars_come_back_at_their_step(tmp_path):
    writer = TensorBoardWriter(tmp_path / "tb")
    writer.write_iteration(STEP, [ROW, ROW | {"iteration": 1, "success_rate": 0.5}])
    writer.write_iteration(
        STEP | {"iteration": 1, "test_accuracy": 0.64}, [ROW | {"iteration": 1, "success_rate": 0.5}]
    )
    events = read(tmp_path / "tb")
    assert numbers(events, "iteration/test_accuracy") == [(0, 0.65), (1, 0.64)]
    assert numbers(events, "attack_success/forgotten/m_loss") == [(0, 0.61), (1, 0.5)]
    assert "iteration/retain_accuracy" not in events.Tags()["tensors"]
    assert "iteration/event" not in events.Tags()["tensors"]


def test_iteration_written_again_replaces_the_old_one(tmp_path):
    writer = TensorBoardWriter(tmp_path)
    for t, rate in ((0, 0.1), (1, 0.2), (0, 0.3), (1, 0.4)):
        writer.write_iteration(STEP | {"iteration": t, "test_accuracy": rate})
    assert numbers(read(tmp_path), "iteration/test_accuracy") == [(0, 0.3), (1, 0.4)]
    assert len(list(tmp_path.iterdir())) == 2


def test_same_iteration_at_the_same_time_gives_the_same_bytes(tmp_path):
    writer = TensorBoardWriter(tmp_path)
    first = writer.write_iteration(STEP, [ROW], wall_time=1.0).read_bytes()
    assert writer.write_iteration(STEP, [ROW], wall_time=1.0).read_bytes() == first


def test_protocols_and_slices_do_not_mix(tmp_path):
    rows = [ROW, ROW | {"protocol": "yu2021", "success_rate": 0.7}, ROW | {"slice": "cat", "success_rate": 0.9}]
    TensorBoardWriter(tmp_path).write_iteration(STEP, rows)
    events = read(tmp_path)
    assert numbers(events, "attack_success/forgotten/m_loss") == [(0, 0.61)]
    assert numbers(events, "attack_success_yu2021/forgotten/m_loss") == [(0, 0.7)]


@pytest.mark.parametrize("channels", [1, 3])
def test_samples_are_one_picture_a_row_per_class(tmp_path, channels):
    showcase = np.zeros((2, 3, 8, 8, channels), np.uint8)
    showcase[1, 2] = 90
    TensorBoardWriter(tmp_path).write_iteration(STEP, showcase=showcase)
    (event,) = read(tmp_path).Tensors("samples")
    width, height, png = event.tensor_proto.string_val
    picture = np.asarray(Image.open(io.BytesIO(png)))
    assert (int(width), int(height)) == (26 * 4, 17 * 4) == picture.shape[1::-1]
    assert np.all(picture[-32:, -32:] == 90)  # the last sample of the last class, enlarged four times
    assert np.all(picture[:32, :32] == 0)
    assert np.all(picture[:, 32:36] == 255)


def test_run_directory_gives_the_same_scalars_again(made_up_run):
    run = made_up_run(done=2).everything()
    paths = rebuild_tensorboard(run.directory)
    assert [path.name for path in paths] == [f"events.out.tfevents.{t:010d}.tfpdu" for t in range(3)]
    events = read(run.directory / "tensorboard")
    expected = [(e["iteration"], round(e["test_accuracy"], 6)) for e in run.events() if e["event"] == "iteration"]
    assert numbers(events, "iteration/test_accuracy") == pytest.approx(expected, abs=1e-6)
    assert [e.step for e in events.Tensors("samples")] == [2]
