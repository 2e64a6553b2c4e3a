"""scikit-learn's BernoulliRBM in float32: fit (PCD-1) and gibbs."""

from __future__ import annotations

from common import (
    BATCH,
    CHAINS,
    RBM,
    measure,
    synthetic,
    torch_epoch_floor,
    torch_floor,
    torch_setup,
    version_of,
)

torch_setup()

from sklearn.neural_network import BernoulliRBM  # noqa: E402

version_of("scikit-learn", "numpy")
data = synthetic()
rbm = BernoulliRBM(
    n_components=RBM[1], batch_size=BATCH, learning_rate=0.05, n_iter=1, random_state=0
)
measure({"epoch · floor": torch_epoch_floor(), "epoch · scikit-learn": lambda: rbm.fit(data)})
state = data[:CHAINS]
measure(
    {"RBM sweep · floor": torch_floor(RBM), "RBM sweep · scikit-learn": lambda: rbm.gibbs(state)},
    repeats=15,
)
small = BernoulliRBM(n_components=100, batch_size=10, learning_rate=0.05, n_iter=1, random_state=0)
few = data[:2000, :64].copy()
measure({"200 updates of ten, 64-100 · scikit-learn": lambda: small.fit(few)})
