"""The embedded default: scikit-learn's digits, no network, a few minutes on 2 cores.

Even digits are 80 % of S; the prior wants even and odd alike.

digits         the generator learns S, as in the paper
digits:public  a smaller S, balanced over stroke too, and the generator of rows outside it that comes with tfpdu
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.data = ConfigDict()
    config.data.name = "digits"  # digits | cifar10 | celeb_a | image_folder | npz
    config.data.directory = ""  # TFDS directory, folder of pictures or .npz file; empty: TFDS_DATA_DIR
    config.data.table = ""  # image_folder: the CSV
    config.data.label = ""  # image_folder: its label column
    config.data.subject = ""  # image_folder: its person column
    config.data.image_size = 0  # pixels a side; 0 keeps the source's
    config.data.attributes = ("parity",)
    config.data.target = ""  # celeb_a: the attribute to classify
    config.data.in_memory_gb = 4.0  # more pictures than so many GB are read from disk, batch by batch; 0: always
    config.data.cache = ""  # where they are kept; empty: TFPDU_CACHE or ~/.cache/tfpdu, own pictures in the workdir

    # Disjoint pools: counts, or shares of all rows; "official" is the source's own test partition.
    config.pools = ConfigDict(
        dict(
            private=0.47, non_members_calibration=0.1, non_members_evaluation=0.1, auxiliary=0.15, public=0.0, test=0.18
        )
    )

    config.draw = ConfigDict()
    config.draw.rows = 480  # |S| before Algorithm 1
    config.draw.attribute = "parity"  # empty: a plain draw
    config.draw.values = ("even", "odd")
    config.draw.shares = (0.8, 0.2)  # of the values above; numbers above 1 are counts

    config.prior = ConfigDict()
    config.prior.kind = "uniform"  # uniform | given | reference (the auxiliary pool) | eda (towards the cells in need)
    config.prior.over = (("parity",),)  # each entry: one variable (a marginal) or several (a joint)
    config.prior.given = ()  # kind=given: one tuple of probabilities an entry, row-major
    config.prior.eda = "umda"  # kind=eda: umda | mimic | cga
    config.prior.weight = 0.5  # kind=eda: its share in the prior; the rest is S as it is
    config.prior.need = ()  # kind=eda: one tuple of numbers an entry, a number per cell; empty: measured

    config.augment = ConfigDict()
    config.augment.method = "diffusion"  # diffusion | none | oversample | undersample | reweigh
    config.augment.rho = 1e-6  # Algorithm 1 ends at B(S, D) < rho
    config.augment.smoothing = 0.0
    config.augment.solver = "exact"  # exact | gradient
    config.augment.scope = "global"  # global | shard (the paper's letter)
    config.augment.max_redraws = 3  # of a sample that the judge sees otherwise than requested
    config.augment.allow_empty_cells = False  # ask also for cells without a single row
    config.augment.max_growth = 10.0  # refuse a prior that needs more than so many times the rows
    config.augment.replenish = True  # synthetic rows come for those that a step forgets; False: S shrinks

    config.generator = ConfigDict()
    config.generator.lineage = (
        "keep"  # trained on: keep (S, as the paper) | public (public pool) | strict (S, anew each step)
    )
    config.generator.min_rows = 100  # a generator of fewer rows is refused; lineage=strict ends there
    config.generator.pretrained = ""  # name or directory of a generator to use as it is, with lineage=public
    config.generator.floor = 0.7  # quality gate: the least accuracy as a share of real rows'; 0 switches it off
    config.generator.gate_rows = 480  # samples that the gate looks at
    config.generator.images = 90_000  # seen in training, counted with repetition; the main lever on quality
    config.generator.batch = 128
    config.generator.widths = (24, 32)
    config.generator.fold = 1
    config.generator.embedding = 48
    config.generator.flip = False
    config.generator.learning_rate = 4e-3
    config.generator.optimiser = "adam"  # adam | muon, which learns more from an image in all but tiny networks
    config.generator.schedule = "cosine"  # cosine, to 0 at the end | rsqrt, which has no end: more images go on from it
    config.generator.ema = 0.02  # half-life of the averaged weights: share of images, with rsqrt of those seen so far
    config.generator.decay_images = 1_000_000  # schedule=rsqrt: images after which the learning rate falls
    config.generator.precision = "float32"
    config.generator.steps = 18
    config.generator.sample_batch = 64  # images at a time; fewer are filled up to it
    config.generator.guidance = 1.0
    config.generator.guidance_low = 0.0  # at noise levels from here
    config.generator.guidance_high = 1000.0  # to there
    config.generator.candidates = 1  # samples for each one asked for, at most: until the critics see what was asked for
    config.generator.critics = ()  # what they tell apart: "label", attributes; they learn the generator's rows
    config.generator.critic_images = 100_000  # that each sees in training
    config.generator.critic_widths = (32, 64)  # channels of its levels
    config.generator.steer = ()  # attributes that it does not learn: a classifier steers its samples to each
    config.generator.steering = 4.0  # how strongly; 1 is Bayes' rule
    config.generator.steer_images = 100_000  # that such a classifier sees in training
    config.generator.min_cell = 10  # rows below which a class x attribute cell is asked for by class alone
    config.generator.checkpoint_images = 50_000
    config.generator.private = ConfigDict()  # differentially private training; batch is then the expected one
    config.generator.private.epsilon = 0.0  # of the whole training, for one row; 0 is off
    config.generator.private.delta = 1e-5  # below 1 / rows
    config.generator.private.clip_norm = 1.0  # of one row's gradient
    config.generator.private.multiplicity = 1  # noised copies of a row, averaged before clipping
    config.generator.private.rows = 0  # public number of rows behind the sampling rate; 0: the table's own
    config.generator.private.chunk = 32  # rows whose gradients are in memory at once
    config.generator.private.accountant = "pld"  # pld | rdp

    config.ensemble = ConfigDict()
    config.ensemble.shards = 2
    config.ensemble.slices = 1
    config.ensemble.slice_order = "even"  # even | forget: two slices, the rows to be forgotten next in the last one
    config.ensemble.last_slice = 1 / 3  # forget: the last slice's epochs, as a share of the first one's
    config.ensemble.base_share = 0.75  # forget: least share of the rows in the first slice before it is made anew
    config.ensemble.stem = "cifar"  # cifar (3x3) | imagenet (7x7 and pooling) | torchvision (so, padded as by PyTorch)
    config.ensemble.width = 16  # 64 is ResNet18
    config.ensemble.image_upscale = 1  # pictures are enlarged so many times first
    config.ensemble.initial = ""  # weights to start from: a file of `tfpdu convert`; empty: drawn by the seed
    config.ensemble.freeze = 0  # of the 4 stages, how many keep those weights, from the pictures on
    config.ensemble.epochs = 15
    config.ensemble.batch = 32
    config.ensemble.learning_rate = 0.05
    config.ensemble.weight_decay = 5e-4
    config.ensemble.label_smoothing = 0.0
    config.ensemble.precision = "float32"
    config.ensemble.aggregate = "mean_probability"
    config.ensemble.threads = 2
    config.ensemble.executor = "serial"  # serial | ray, which trains shards side by side; the weights are the same
    config.ensemble.address = ""  # ray: the cluster's, auto for the one on this machine; empty: this machine alone

    config.views = ConfigDict(dict(count=10, flip=False, shift=1, cutout=0))

    config.loop = ConfigDict()
    config.loop.iterations = 10  # T: originals are gone after the last one
    config.loop.until = -1  # the last step that is done; 0: nothing is forgotten; -1: T
    config.loop.capacity = 0.2  # Theorem 1's c: no step may forget more than c * n rows

    config.deletion = ConfigDict()
    config.deletion.mode = "experiment"  # service: erase every trace of rows that were deleted on request
    config.deletion.days = 30  # until a request is due
    config.deletion.likely = ""  # e.g. "young == 'yes'": rows that are likely to be asked for lie in few shards
    config.deletion.group_floor = 0.0  # accuracy: a group under it after a deletion makes tfpdu forget exit with 3

    config.judge = ConfigDict(dict(epochs=10))

    config.audit = ConfigDict()
    config.audit.rows = 120  # a role
    config.audit.full_rows = 170  # at the first, the middle and the last iteration
    config.audit.attacks = ("m_loss", "m_mean", "moments")
    config.audit.protocols = ("holdout", "yu2021")
    config.audit.tensorflow_privacy = ("threshold", "lr")  # its attacks, at the same iterations; also mlp, knn, rf

    config.audit.canaries = 0  # rows that a fair coin puts into S or leaves out: a lower bound on epsilon from one run

    config.report = ConfigDict(dict(originals=True))

    if variant == "public":
        config.pools.private, config.pools.public = 0.26, 0.21
        config.data.attributes = ("parity", "stroke")
        config.prior.over = (("parity",), ("stroke",))
        config.draw.rows = 240
        config.generator.lineage = "public"
        config.generator.pretrained = "digits"  # made by tfpdu train --config=digits:public, in 3 minutes
        config.generator.images = 300_000
        config.generator.guidance = 1.5  # so that thick strokes are thick
        config.generator.gate_rows = 360
        config.audit.rows, config.audit.full_rows = 60, 90
    elif variant:
        raise ValueError(f"digits: unknown variant {variant!r}; known: public")
    return config
