import numpy as np
import pytest

from tests.unlearning.benchmark.tables import rows, tables
from tfpdu.audit import References
from tfpdu.data import concatenate
from tfpdu.unlearning.benchmark.corruptions import CORRUPTIONS, corrupted
from tfpdu.unlearning.benchmark.measures import (
    Answers,
    Membership,
    Population,
    accuracies,
    confusion,
    distance,
    gap,
    histograms,
    like_classes,
    loss_attack,
)
from tfpdu.unlearning.benchmark.scenarios import Scenario

TABLES = tables()
TASK = Scenario.parse("random:0.2").task(TABLES.train, 0)
SPLIT = Population(TASK.forget, ~TASK.forget)


def sure(labels, confidence=4.0):
    """Logits of a model that gives these labels."""
    return (confidence * np.eye(3)[labels]).astype(np.float32)


def answers(**changes):
    parts = {name: sure(getattr(TABLES, name).labels) for name in ("train", "held_out", "population", "test")}
    return Answers(**{**parts, **changes})


def test_accuracies_are_shares_of_their_rows():
    train = TABLES.train.labels.copy()
    train[np.flatnonzero(TASK.forget)[:3]] += 1  # three of twelve forgotten rows are wrong
    found = accuracies(answers(train=sure(train % 3)), TABLES, TASK, SPLIT)
    assert found == {"forget_accuracy": 0.75, "retain_accuracy": 1.0, "test_accuracy": 1.0}


def test_a_forgotten_class_is_counted_apart_on_the_test_rows():
    task = Scenario.parse("class:right").task(TABLES.train, 0)
    found = accuracies(answers(test=sure(TABLES.test.labels * 0)), TABLES, task, Population(task.forget, ~task.forget))
    assert found["test_accuracy_forgotten_classes"] == 0.0
    assert found["test_accuracy_retained_classes"] == 0.5  # one of the two classes left is always given


def test_confusion_counts_one_class_taken_for_the_other_by_true_labels():
    task = Scenario.parse("confusion:left-right:0.5").task(TABLES.train, 0)
    split = Population(task.forget, ~task.forget)
    swapped = np.array([2, 1, 0])
    found = confusion(answers(train=sure(swapped[TABLES.train.labels])), TABLES, task, split)
    assert found == {"confusion_forget": 1.0, "confusion_test": 0.0}


def test_like_classes_has_the_asked_shares_and_as_many_rows_as_there_can_be():
    chosen = like_classes(TABLES.held_out, np.array([0, 0, 1]))  # 15 rows of each class: 15 and 7
    assert np.bincount(TABLES.held_out.labels[chosen]).tolist() == [15, 7]
    assert len(like_classes(TABLES.held_out.take(TABLES.held_out.labels == 0), np.array([1]))) == 15  # none: all


def test_the_triple_finds_no_leak_where_all_rows_are_answered_alike_and_a_leak_where_forgotten_ones_are_surer():
    population = concatenate([TABLES.train, TABLES.held_out, TABLES.population])
    references = References(np.full((len(population), 2), 0.6), np.tile([True, False], (len(population), 1)))
    unlike = sure(TABLES.population.labels) * np.linspace(0.2, 2.2, 36, dtype=np.float32)[:, None]
    even = Membership(population, references).triple(answers(population=unlike), TABLES, SPLIT)
    assert even["ft_auc"] == even["fr_auc"] == even["rt_auc"] == 0.5
    train = sure(TABLES.train.labels)
    train[TASK.forget] *= 2
    surer = Membership(population, references).triple(answers(train=train, population=unlike), TABLES, SPLIT)
    assert surer["ft_auc"] == 1.0
    assert surer["fr_auc"] == 0.0
    assert surer["ft_auc_ci_low"] > 0.5


def test_without_references_there_is_no_triple():
    assert Membership(None, None).triple(answers(), TABLES, SPLIT) == {}


def test_an_attack_against_all_classes_tells_a_forgotten_class_from_others_though_no_row_is_known():
    """The trap of a study that found 0.99 so: the model has forgotten the class wholly."""
    task = Scenario.parse("class:right").task(TABLES.train, 0)
    gone = np.array([0, 1, 0])  # rows of the class are taken for another, whether or not it was trained on them
    found = answers(train=sure(gone[TABLES.train.labels]), held_out=sure(gone[TABLES.held_out.labels]))
    numbers = loss_attack(found, TABLES, Population(task.forget, ~task.forget), 0)
    assert numbers["loss_attack_all_classes"] > 0.75
    assert abs(numbers["loss_attack_same_classes"] - 0.5) < 0.2


def test_distance_is_zero_from_itself_and_one_from_another_sure_model():
    same = distance(answers(), answers(), SPLIT)
    assert same == {"agreement_forget": 1.0, "distance_forget": 0.0, "agreement_test": 1.0, "distance_test": 0.0}
    other = answers(test=sure((TABLES.test.labels + 1) % 3, 40.0))
    apart = distance(other, answers(test=sure(TABLES.test.labels, 40.0)), SPLIT)
    assert apart["agreement_test"] == 0.0
    assert apart["distance_test"] == pytest.approx(1.0)


def test_the_gap_is_the_mean_of_the_differences_in_points():
    reference = {"forget_accuracy": 0.9, "retain_accuracy": 1.0, "test_accuracy": 0.9, "ft_auc": 0.5}
    own = {"forget_accuracy": 0.94, "retain_accuracy": 0.99, "test_accuracy": 0.88, "ft_auc": 0.51}
    assert gap(own, reference)["average_gap"] == pytest.approx((4 + 1 + 2 + 1) / 4)
    assert gap(reference, reference)["average_gap"] == 0.0
    no_attack = {key: value for key, value in own.items() if key != "ft_auc"}
    assert gap(no_attack, reference)["average_gap"] == pytest.approx((4 + 1 + 2) / 3)


def test_histograms_are_shares_that_sum_to_one():
    found = histograms(answers(), TABLES, TASK, SPLIT)
    assert set(found) == {"forget", "retain", "test"}
    assert all(sum(shares) == pytest.approx(1) for shares in found.values())
    top = np.exp(4) / (np.exp(4) + 2)
    assert found["test"][int(top * 20)] == pytest.approx(1)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_keeps_shape_and_type_and_is_repeatable(name):
    for channels in (1, 3):
        images = np.repeat(rows(4, "x").images, channels, axis=-1)
        found = corrupted(images, name, 1)
        assert found.shape == images.shape
        assert found.dtype == np.uint8
        assert np.array_equal(found, corrupted(images, name, 1))
        assert not np.array_equal(found, images)


def test_contrast_and_brightness_by_hand():
    image = np.array([[0, 100], [100, 200]], np.uint8).reshape(1, 2, 2, 1)
    assert corrupted(image, "contrast").ravel().tolist() == [60, 100, 100, 140]
    assert corrupted(image, "brightness").ravel().tolist() == [38, 138, 138, 238]
