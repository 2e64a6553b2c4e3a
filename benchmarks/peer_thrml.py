"""thrml (JAX): block Gibbs of its spins, batched over chains by vmap; the arithmetic of a sweep is
that of 0/1 units.

Its environment has no torch, so its sweeps are set beside the floor of numpy's matrix products.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from common import CHAINS, DBM, RBM, Work, measure, numpy_floor, version_of

import jax  # isort: skip
import jax.numpy as jnp
from thrml import Block, SamplingSchedule, SpinNode
from thrml.block_sampling import sample_states
from thrml.models import IsingEBM, IsingSamplingProgram, hinton_init


def sweep_of(sizes: Sequence[int]) -> Work:
    layers = [[SpinNode() for _ in range(size)] for size in sizes]
    edges = [(a, b) for lower, upper in itertools.pairwise(layers) for a in lower for b in upper]
    nodes = [node for layer in layers for node in layer]
    key = jax.random.key(0)
    model = IsingEBM(
        nodes,
        edges,
        jnp.zeros(len(nodes)),
        0.01 * jax.random.normal(key, (len(edges),)),
        jnp.array(1.0),
    )
    program = IsingSamplingProgram(
        model, [tuple(Block(layer) for layer in layers[parity::2]) for parity in (0, 1)], []
    )
    schedule = SamplingSchedule(n_warmup=1, n_samples=1, steps_per_sample=1)
    blocks = program.gibbs_spec.free_blocks
    start = hinton_init(key, model, blocks, (CHAINS,))
    run = jax.jit(jax.vmap(lambda k, s: sample_states(k, program, schedule, s, [], blocks)))
    keys = jax.random.split(key, CHAINS)
    return lambda: jax.block_until_ready(run(keys, start))


version_of("thrml", "jax", "numpy")
for label, sizes in (("RBM sweep", RBM), ("DBM sweep", DBM)):
    measure(
        {f"{label} · floor": numpy_floor(sizes), f"{label} · thrml": sweep_of(sizes)}, repeats=3
    )
