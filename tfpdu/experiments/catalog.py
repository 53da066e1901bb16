"""The experiments of the paper, and ours: those that test what it claims, and that set defaults."""

from tfpdu.experiments.plan import Contrast, Experiment, Measure, Variant
from tfpdu.reporting.attacks import attack_name

_END = (("loop.until", 0),)  # after Algorithm 1 and learning
_STEP = (("loop.until", 1),)  # and one step of forgetting

CIFAR10 = Variant("cifar10", "cifar10:cpu", words="the paper's loop, from scratch, two shards")
TRANSFER = Variant(
    "cifar10_transfer", "cifar10:transfer", words="from ImageNet weights, two of four stages frozen, at 64 pixels"
)
FREE = Variant(
    "cifar10_transfer_free", "cifar10:transfer", (*_STEP, ("ensemble.freeze", 0)), "the same, nothing frozen; one step"
)
SMALL = Variant(
    "cifar10_transfer_32",
    "cifar10:transfer",
    (*_STEP, ("ensemble.image_upscale", 1)),
    "at 32 pixels; one step",
)
PLAIN = Variant("cifar10_plain", "cifar10:plain", _END, "2,959 animals and 2,041 vehicles; nothing is forgotten")
IMBALANCED = Variant("cifar10_imbalanced", "cifar10:imbalanced", _END, "800 animals, 3,200 vehicles; debiased")
OVERSAMPLED = Variant(
    "cifar10_oversampled", "cifar10:imbalanced", (*_END, ("augment.method", "oversample")), "the same, copies instead"
)
CELEBA = Variant("celeb_a", "celeb_a:cpu", words="the paper's loop on faces; Young and Male together are balanced")
YOUNG = Variant("celeb_a_young", "celeb_a:cpu", (*_END, ("prior.over", (("Young",),))), "guided towards not Young")
MARGINAL = Variant(
    "celeb_a_marginal", "celeb_a:cpu", (*_END, ("prior.over", (("Young",), ("Male",)))), "over each by itself"
)
UNAUGMENTED = Variant("cifar10_unaugmented", "cifar10:cpu", (("augment.method", "none"),), "nothing is ever added")
NAIVE = Variant(
    "cifar10_naive", "cifar10:cpu", (("augment.replenish", False),), "augmented once, then forgotten step by step"
)
STILL = Variant(
    "cifar10_still",
    "cifar10:cpu",
    (("augment.method", "none"), ("views.count", 1), ("views.flip", False), ("views.shift", 0)),
    "nothing is added, and pictures are learned without flips and shifts",
)
_DIGITS = (("generator.pretrained", ""), ("generator.floor", 0.0))
PUBLIC = Variant("digits_public", "digits:public", words="the generator learned other rows")
KEPT = Variant("digits_keep", "digits:public", (*_DIGITS, ("generator.lineage", "keep")), "it learned S, and is kept")
STRICT = Variant(
    "digits_strict", "digits:public", (*_DIGITS, ("generator.lineage", "strict")), "made anew at each step"
)
SHARDS = tuple(Variant(f"cifar10_{k}_shards", "cifar10:cpu", (("ensemble.shards", k),), f"k = {k}") for k in (1, 5))

_ATTACKS = {name: attack_name(name) for name in ("moments", "m_mean", "m_loss")}
_ACCURACY: tuple[Measure, ...] = (
    ("test_accuracy@before", "test accuracy before Algorithm 1", "share"),
    ("test_accuracy@0", "test accuracy after it", "share"),
    ("test_accuracy@last", "test accuracy at the end", "share"),
)
_TABLE1: tuple[Measure, ...] = tuple(
    (f"{measure}@{t}", f"{words}, iteration {t}", unit)
    for measure, words, unit in (
        ("retain_accuracy", "retain accuracy", "share"),
        ("test_accuracy", "test accuracy", "share"),
        ("step_seconds", "time of the step", "seconds"),
    )
    for t in range(1, 11)
)
_FIGURE12: tuple[Measure, ...] = tuple(
    (f"success/{attack}@{t}", f"{words}, {10 * t} % forgotten", "share")
    for attack, words in _ATTACKS.items()
    for t in range(11)
)
_SUCCESS: tuple[Measure, ...] = tuple(
    (f"success/{attack}@{at}", f"{name}, {words}", "share")
    for attack, name in {"strongest": "strongest attack", **_ATTACKS}.items()
    for at, words in (("0", "before anything is forgotten"), ("last", "at the end"))
)
_GENERATOR: Measure = ("generator_auc", "the generator knows forgotten rows, AUC", "share")
_BIAS: tuple[Measure, ...] = (
    ("added", "rows added by Algorithm 1", "rows"),
    ("kl_before", "bias before", "nats"),
    ("kl_after", "bias after", "nats"),
)


def _worst(attribute: str) -> tuple[Measure, ...]:
    return (
        (f"worst/{attribute}@before", f"worst {attribute} before Algorithm 1", "share"),
        (f"worst/{attribute}@after", f"worst {attribute} after it", "share"),
        (f"gain/worst {attribute}", f"worst {attribute}, after less before", "points"),
    )


PAPER = (
    Experiment(
        "figure5",
        "Figure 5: imbalance of a random 5,000, and 918 vehicles added",
        "How many rows bring 2,959 animals and 2,041 vehicles to the prior, and is it the paper's number?",
        (PLAIN,),
        (0,),
        (*_BIAS, ("count/superclass=animal", "animals", "rows"), ("count/superclass=vehicle", "vehicles", "rows")),
    ),
    Experiment(
        "figures6to9",
        "Figures 6 to 9: a classifier before and after debiasing of an 80/20 split of 4,000",
        "Do 2,400 synthetic animals help the classes, and the worst of them, more than copies of the 800 do?",
        (IMBALANCED, OVERSAMPLED),
        measures=(*_BIAS, *_ACCURACY[:2], *_worst("superclass"), *_worst("label")),
        contrasts=(
            Contrast(
                "worst/superclass@after", IMBALANCED.name, OVERSAMPLED.name, "worst superclass, synthetic less copies"
            ),
            Contrast("worst/label@after", IMBALANCED.name, OVERSAMPLED.name, "worst class, synthetic less copies"),
        ),
    ),
    Experiment(
        "figures10and11",
        "Figures 10 and 11: samples",
        "What do samples look like, and what is a classifier worth that learns from them alone?",
        (PLAIN, YOUNG),
        (0,),
        (("cas_ratio", "accuracy learned from samples over that from real rows", "share"),),
    ),
    Experiment(
        "table1",
        "Table I: ten iterations at a forget rate of 10 %",
        "Retain and test accuracy, and the time of a step, at each iteration: from scratch and from ImageNet weights.",
        (CIFAR10, TRANSFER),
        measures=_TABLE1,
        contrasts=(
            Contrast(
                "test_accuracy@1", TRANSFER.name, CIFAR10.name, "test accuracy at iteration 1, transfer less scratch"
            ),
        ),
    ),
    Experiment(
        "figure12",
        "Figure 12: attack success against the share forgotten",
        "Three attacks on all originals, by a threshold chosen on other rows; 50 % is guessing.",
        (CIFAR10, TRANSFER),
        measures=_FIGURE12,
    ),
    Experiment(
        "figure12_celeb_a",
        "Figure 12 on CelebA",
        "Three attacks on all originals, by a threshold chosen on other rows; 50 % is guessing.",
        (CELEBA,),
        (0,),
        _FIGURE12,
    ),
)

OURS = (
    Experiment(
        "naive",
        "Do augmentation and unlearning hurt each other?",
        "The paper says so of a naive combination (sections I and III), and shows no run of one. Here it is the plain"
        " sequence: Algorithm 1 once, before learning, then exact unlearning of the same rows in the same steps, and"
        " nothing that brings the one to know of the other: no replenishing, so no return to the prior. Beside it the"
        " paper's loop, and unlearning without augmentation, with and without flips and shifts, which its source"
        " for the claim is about. Without unlearning, each run is what it is at iteration 0. The bias of"
        " the naive table at the end is infinite where one group is gone, so it is compared half way.",
        (CIFAR10, NAIVE, UNAUGMENTED, STILL),
        measures=(
            ("kl_before", "bias before", "nats"),
            ("kl@0", "bias after Algorithm 1", "nats"),
            ("kl@5", "bias half way", "nats"),
            *_ACCURACY,
            ("worst/superclass@last", "worst superclass at the end", "share"),
            *_SUCCESS,
        ),
        contrasts=(
            Contrast("kl@5", NAIVE.name, CIFAR10.name, "unlearning raises bias: nats half way, naive less the loop"),
            Contrast(
                "worst/superclass@last", NAIVE.name, CIFAR10.name, "worst superclass at the end, naive less the loop"
            ),
            Contrast(
                "success/strongest@0",
                CIFAR10.name,
                UNAUGMENTED.name,
                "augmentation aids attacks: success with synthetic rows less without",
            ),
            Contrast(
                "success/strongest@0",
                UNAUGMENTED.name,
                STILL.name,
                "augmentation aids attacks: success with flips and shifts less without",
            ),
            Contrast("success/strongest@last", NAIVE.name, CIFAR10.name, "success at the end, naive less the loop"),
        ),
        ours=True,
    ),
    Experiment(
        "transfer",
        "What transfer gives, and which part of it",
        "ImageNet weights at 64 and at 32 pixels with two of four stages frozen, and with none.",
        (TRANSFER, SMALL, FREE),
        (0,),
        (
            *_ACCURACY[:2],
            ("test_accuracy@1", "test accuracy, iteration 1", "share"),
            ("retain_accuracy@1", "retain accuracy, iteration 1", "share"),
            ("step_seconds@1", "time of a step", "seconds"),
        ),
        ours=True,
    ),
    Experiment(
        "lineage",
        "What the generator remembers: keep, public, strict",
        "The same data and classifier, with a generator of other rows, of S, and of what is left of S at each step.",
        (PUBLIC, KEPT, STRICT),
        measures=(*_ACCURACY, ("originals@last", "originals left", "rows"), _GENERATOR, *_SUCCESS),
        contrasts=(
            Contrast("generator_auc", KEPT.name, PUBLIC.name, "AUC on forgotten rows, keep less public"),
            Contrast("generator_auc", KEPT.name, STRICT.name, "AUC on forgotten rows, keep less strict"),
            Contrast("test_accuracy@last", PUBLIC.name, KEPT.name, "test accuracy at the end, public less keep"),
        ),
        ours=True,
    ),
    Experiment(
        "prior",
        "A prior over attributes together or each by itself",
        "Marginals cannot see that young men are rare where young people and women are many.",
        (CELEBA, MARGINAL),
        (0,),
        (*_BIAS, *_ACCURACY[:2], *_worst("Young"), *_worst("Male")),
        ours=True,
    ),
    Experiment(
        "shards",
        "k = 1, 2, 5 shards",
        "Fewer rows a model cost accuracy; more shards make a single deletion cheaper.",
        (SHARDS[0], CIFAR10, SHARDS[1]),
        (0,),
        (*_ACCURACY, ("step_seconds@1", "time of a step of 10 %", "seconds"), *_SUCCESS[:2]),
        ours=True,
    ),
)

KNOWN: dict[str, tuple[Experiment, ...]] = {experiment.name: (experiment,) for experiment in PAPER + OURS}
KNOWN |= {"paper": PAPER, "ours": OURS, "all": PAPER + OURS}
