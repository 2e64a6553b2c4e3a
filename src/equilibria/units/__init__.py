"""Units: the variables of one layer, given the field that they feel.

One sentence is the whole contract: under a field f a layer's distribution is
p(x) ∝ exp(f · signal(x) − base_energy(x)), with a signal that is linear in x.
``log_partition(f)`` is the logarithm of its normaliser. Everything else in the library (energies,
Gibbs draws, mean field, annealing) is written with these functions and never asks which units
it has.
"""

from equilibria.units.base import Units
from equilibria.units.continuous import Gaussian, Rectified
from equilibria.units.discrete import Bernoulli, Categorical, Spin

__all__ = ["Bernoulli", "Categorical", "Gaussian", "Rectified", "Spin", "Units"]
