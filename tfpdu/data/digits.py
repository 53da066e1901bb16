"""The embedded data set: scikit-learn's handwritten digits (Alpaydin & Kaynak 1998), no network needed."""

from collections.abc import Sequence

import numpy as np

from tfpdu.common.validation import one_of
from tfpdu.data.pictures import resize
from tfpdu.data.records import AttributeSpec, Records

PARITY = AttributeSpec("parity", ("even", "odd"))
STROKE = AttributeSpec("stroke", ("thin", "thick"))
THICK_INK = 313  # the 64 pixels of 0..16 sum to this or more in a thick digit; it is the median of the 1,797


def load_digits(image_size: int = 0, attributes: Sequence[str] = ()) -> Records:
    """1,797 digits, uint8[n, 8, 8, 1], of 10 classes.

    Args:
      image_size: pixels a side; 0 = 8.
      attributes: of 'parity' (even, odd) and 'stroke' (thin, thick); empty = both.
    """
    from sklearn import datasets

    bunch = datasets.load_digits()
    values = bunch.images  # float64[n, 8, 8] in 0..16
    labels = bunch.target.astype(np.int32)
    columns = {
        PARITY.name: (PARITY, labels % 2),
        STROKE.name: (STROKE, values.sum((1, 2)) >= THICK_INK),
    }
    wanted = tuple(attributes) or tuple(columns)
    for name in wanted:
        one_of(columns, **{"config.data.attributes": name})
    images = np.round(values * (255 / 16)).astype(np.uint8)[..., None]
    return Records(
        images=resize(images, image_size),
        labels=labels,
        attributes=np.stack([columns[name][1] for name in wanted], 1).astype(np.int8),
        ids=np.array([f"digits/{row:05d}" for row in range(len(labels))]),
        origin=np.zeros(len(labels), np.int8),
        specs=tuple(columns[name][0] for name in wanted),
        label_names=tuple(str(name) for name in bunch.target_names),
    )
