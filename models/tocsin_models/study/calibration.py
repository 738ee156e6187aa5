"""Which training windows show the converter how far values reach."""

import hashlib

import numpy as np

from tocsin_models.study.reading import Places, Store
from tocsin_models.variants import Calibration
from tocsin_shared.errors import BadInputError


def calibration(train: Store, count: int, seed: int) -> Calibration:
    """``count`` windows of the training split, as many of each class as there are, in a mixed order."""
    labels = np.concatenate(train.labels())
    rng = np.random.default_rng(seed)
    orders = [list(rng.permutation(np.flatnonzero(labels == one))) for one in range(len(train.classes))]
    chosen: list[int] = []
    while len(chosen) < min(count, len(labels)):
        for order in orders:
            if order and len(chosen) < count:
                chosen.append(int(order.pop()))
    if not chosen:
        raise BadInputError("there is no training window to calibrate with")
    places: Places = train.places()[rng.permutation(chosen)]
    names = [f"{train.shards[shard].name}:{row}" for shard, row in places]
    return Calibration(train.read(places), hashlib.sha256("\n".join(names).encode()).hexdigest())
