"""scikit-learn's BernoulliRBM in float32: fit (PCD-1) and gibbs.

Its floor is of numpy's products: torch's, in the same process, wait for numpy's threads.
"""

from __future__ import annotations

from common import (
    BATCH,
    CHAINS,
    RBM,
    measure,
    numpy_epoch_floor,
    numpy_floor,
    synthetic,
    version_of,
)
from sklearn.neural_network import BernoulliRBM

version_of("scikit-learn", "numpy")
data = synthetic()
rbm = BernoulliRBM(
    n_components=RBM[1], batch_size=BATCH, learning_rate=0.05, n_iter=1, random_state=0
)
measure({"epoch · floor": numpy_epoch_floor(), "epoch · scikit-learn": lambda: rbm.fit(data)})
state = data[:CHAINS]
measure(
    {"RBM sweep · floor": numpy_floor(RBM), "RBM sweep · scikit-learn": lambda: rbm.gibbs(state)},
    repeats=15,
)
small = BernoulliRBM(n_components=100, batch_size=10, learning_rate=0.05, n_iter=1, random_state=0)
few = data[:2000, :64].copy()
measure({"200 updates of ten, 64-100 · scikit-learn": lambda: small.fit(few)})
