"""Planted bugs: each is one small change of the library's source, and names the check of
``kernels.py`` or ``wiring.py`` that must notice it."""

from __future__ import annotations
import __future__

import dataclasses
import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["MUTANTS", "Mutant"]


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A bug: in the source of ``target`` (module:function or module:Class.method) ``old``, which is
    there once, becomes ``new``."""

    name: str
    target: str
    old: str
    new: str
    check: str

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The library with the bug in it: whoever has imported the function has it too."""
        function = self._function()
        before = function.__code__
        function.__code__ = self._changed(function)
        try:
            yield
        finally:
            function.__code__ = before

    def _function(self) -> Any:
        """The function itself, out of its decorators."""
        name, _, path = self.target.partition(":")
        owner: Any = importlib.import_module(f"equilibria.{name}")
        *outer, last = path.split(".")
        for part in outer:
            owner = getattr(owner, part)
        found = inspect.getattr_static(owner, last)
        for inner in ("__func__", "fget", "func", "fn"):
            found = getattr(found, inner, None) or found
        return inspect.unwrap(found)

    def _changed(self, function: Any) -> Any:
        """Its code with the bug, in the scope that it closes over."""
        source = textwrap.dedent(inspect.getsource(function))
        count = source.count(self.old)
        if count != 1:
            raise LookupError(
                f"mutant {self.name!r}: {self.target} has {self.old!r} {count} times, expected "
                "once; bring tests/mutants up to date"
            )
        source = source.replace(self.old, self.new)
        free = "".join(f"    {name} = None\n" for name in function.__code__.co_freevars)
        body = textwrap.indent(source, "    ")
        whole = f"def scope():\n{free}{body}\n    return {function.__name__}\n"
        flag = __future__.annotations.compiler_flag
        scope = dict(vars(sys.modules[function.__module__]))
        exec(compile(whole, f"<{self.name}>", "exec", flag), scope)
        made = scope["scope"]()
        for inner in ("__func__", "fget", "func", "fn"):
            made = getattr(made, inner, None) or made
        return inspect.unwrap(made).__code__


MUTANTS = (
    Mutant(
        "the bias has the wrong sign",
        "models.boltzmann:BoltzmannMachine.field",
        "self.bias_at(name, beta)",
        "-self.bias_at(name, beta)",
        "gibbs_kernel(rbm, 1.0, None)",
    ),
    Mutant(
        "β is forgotten on the bias",
        "models.boltzmann:BoltzmannMachine.bias_at",
        "beta == 1.0",
        "beta > 0.0",
        "gibbs_kernel(rbm, 0.5, None)",
    ),
    Mutant(
        "β is forgotten on the couplings",
        "models.boltzmann:BoltzmannMachine._gather",
        "alpha=beta",
        "alpha=1.0",
        "gibbs_kernel(rbm, 0.5, None)",
    ),
    Mutant(
        "only one neighbour is felt",
        "models.boltzmann:BoltzmannMachine._gather",
        "in self.neighbours(name)",
        "in self.neighbours(name)[:1]",
        "gibbs_kernel(dbm, 1.0, None)",
    ),
    Mutant(
        "the second colour sees the old first one",
        "inference.gibbs:sweep",
        "{**state, **first}, stream",
        "state, stream",
        "gibbs_draws(rbm, 1.0, None)",
    ),
    Mutant(
        "a clamped cell is redrawn",
        "inference.gibbs:block",
        "drawn if hold is None else hold.fill(drawn)",
        "drawn",
        "gibbs_draws(rbm, 1.0, masked)",
    ),
    Mutant(
        "the mask is inverted",
        "inference.clamp:Held.fill",
        "torch.where(self.mask, self.values, x)",
        "torch.where(self.mask, x, self.values)",
        "gibbs_draws(rbm, 1.0, masked)",
    ),
    Mutant(
        "all layers draw from one stream",
        "inference.gibbs:block",
        "stream.child(name)",
        "stream",
        "gibbs_draws(dbm, 1.0, None)",
    ),
    Mutant(
        "every sweep draws the same numbers",
        "inference.gibbs:run",
        "stream.child(step)",
        "stream",
        "gibbs_draws(rbm, 1.0, None, 2)",
    ),
    Mutant(
        "a sweep forgets its temperature",
        "inference.gibbs:sweep",
        "block(machine, 1, {**state, **first}, stream, held, beta",
        "block(machine, 1, {**state, **first}, stream, held, 1.0",
        "gibbs_draws(rbm, 0.5, None)",
    ),
    Mutant(
        "a category off by one",
        "units.discrete:Categorical.sample",
        ".sum(-1, keepdim=True)",
        ".sum(-1, keepdim=True).add(1)",
        "gibbs_draws(softmax, 1.0, None)",
    ),
    Mutant(
        "a category of no probability at the edge",
        "units.discrete:Categorical.sample",
        "cumulative <= draw",
        "cumulative < draw",
        "draws_at_the_edge()",
    ),
    Mutant(
        "a unit of no probability at the edge",
        "random:Stream.bernoulli_",
        "torch.lt(draw, probability.sub_(0.5)",
        "torch.le(draw, probability.sub_(0.5)",
        "draws_at_the_edge()",
    ),
    Mutant(
        "all chains of a row are one chain",
        "inference.completion:conditional_means",
        "stream.cycle(chains)",
        "stream.cycle(1)",
        "alike_means(spin, whole, 4)",
    ),
    Mutant(
        "rows that are to have the same draws have draws of their own",
        "random:Stream.child",
        "_cycle=self._cycle",
        "_cycle=0",
        "alike_means(spin, masked)",
    ),
    Mutant(
        "the sweeps of a mean draw the same numbers",
        "inference.completion:_means",
        "stream.child(step)",
        "stream",
        "alike_means(spin, masked)",
    ),
    Mutant(
        "a spin feels half its field",
        "units.discrete:Spin.sample",
        "torch.sigmoid(2 * field.detach().to(wide))",
        "torch.sigmoid(field.detach().to(wide))",
        "gibbs_draws(spin, 1.0, None)",
    ),
    Mutant(
        "the ratio of a swap is inverted",
        "inference.ladder:Place.swap",
        "here.log + there.log - self.log - above.log",
        "self.log + above.log - here.log - there.log",
        "swap_chance(temperatures, rbm)",
    ),
    Mutant(
        "one decision for the whole batch",
        "inference.ladder:Place.swap",
        "accepted = uniform.log() < log_ratio",
        "accepted = (uniform.log() < log_ratio)[:1].expand_as(log_ratio)",
        "swap_draws(temperatures, rbm)",
    ),
    Mutant(
        "a swap of no probability at the edge",
        "inference.ladder:Place.swap",
        "uniform.log() < log_ratio",
        "uniform.log() <= log_ratio",
        "swap_at_the_edge()",
    ),
    Mutant(
        "a state is copied, not swapped",
        "inference.ladder:Place.swap",
        "above.take(there, accepted)",
        "pass",
        "swap_draws(temperatures, rbm)",
    ),
    Mutant(
        "all pairs decide by one number",
        "inference.ladder:exchange",
        "uniform[:, i]",
        "uniform[:, 0]",
        "swap_draws(three temperatures, rbm)",
    ),
    Mutant(
        "the summed colour is not redrawn",
        "inference.ladder:exchange",
        'drawn = [place.draw(stream.child("second", i))',
        "drawn = [({**states[i], **place.kept}, place.draw(stream)[1])",
        "swap_draws(temperatures, rbm)",
    ),
    Mutant(
        "the summed colour is drawn under a stale field",
        "inference.ladder:Place.take",
        "where(rows, other.pull[name], x)",
        "where(rows, x, x)",
        "swap_draws(temperatures, rbm)",
    ),
    Mutant(
        "the second swap goes by a stale marginal",
        "inference.ladder:Place.take",
        "torch.where(where, other.log, self.log)",
        "self.log",
        "swap_draws(three temperatures, rbm)",
    ),
    Mutant(
        "a snapshot judges by another machine",
        "inference.ladder:Place.with_state_of",
        "self.replica.machine is other.replica.machine",
        "True",
        "swap_chance(snapshot, rbm)",
    ),
    Mutant(
        "a snapshot judges its own state twice",
        "inference.ladder:Place.with_state_of",
        "Place(self.replica, other.kept",
        "Place(other.replica, other.kept",
        "swap_chance(snapshot, rbm)",
    ),
    Mutant(
        "the summed colour feels β = 1",
        "inference.ladder:Place.field",
        "alpha=beta",
        "alpha=1.0",
        "swap_chance(temperatures, rbm)",
    ),
    Mutant(
        "the kept colour is weighed at β = 1",
        "inference.gibbs:log_marginal",
        "machine.bias_at(name, beta)",
        "machine.bias_at(name, 1.0)",
        "swap_chance(base, rbm)",
    ),
    Mutant(
        "a swap ignores what is clamped",
        "inference.gibbs:log_marginal",
        "held.get(name) if held else None",
        "None",
        "swap_chance(snapshot, rbm, second)",
    ),
    Mutant(
        "a swap counts the observed cells as free",
        "inference.gibbs:log_marginal",
        "torch.where(hold.variables, own, units.log_partition(field))",
        "units.log_partition(field)",
        "swap_chance(temperatures, rbm, second)",
    ),
    Mutant(
        "all replicas draw the same numbers",
        "inference.ladder:step",
        'stream.child("first", i)',
        'stream.child("first")',
        "step_draws(temperatures, rbm)",
    ),
    Mutant(
        "the replicas are swept at β = 1",
        "inference.ladder:step",
        "held, replica.beta",
        "held, 1.0",
        "step_draws(temperatures, rbm)",
    ),
    Mutant(
        "annealed weights are summed in single precision",
        "inference.partition:annealed",
        "dtype=torch.float64",
        "dtype=torch.float32",
        "annealed_weights()",
    ),
    Mutant(
        "annealing weighs a step the other way round",
        "inference.partition:annealed",
        "(before, first), (after, felt)",
        "(after, felt), (before, first)",
        "annealed_weights()",
    ),
    Mutant(
        "rejection takes as a logistic curve does",
        "inference.refine:acceptance",
        "(log_weight - bound).clamp(max=0.0).exp()",
        "(log_weight - bound).sigmoid()",
        "rejection(2)",
    ),
    Mutant(
        "rows out of tries are filled in without their weights",
        "inference.refine:reject",
        "pool.offer(pending, z, logs,",
        "pool.offer(pending, z, torch.zeros_like(logs),",
        "rejection(2)",
    ),
    Mutant(
        "a proposal and whether it is taken are one number",
        "inference.refine:reject",
        'key.child("accept")',
        'key.child("noise")',
        "rejection(2)",
    ),
    Mutant(
        "the odds of a chain's move are inverted",
        "inference.refine:metropolis",
        "new - old",
        "old - new",
        "chains(1)",
    ),
    Mutant(
        "a chain forgets the weight of where it is",
        "inference.refine:metropolis_hastings",
        "new.where(take, logs)",
        "logs",
        "chains(2)",
    ),
    Mutant(
        "a candidate and its key are one number",
        "inference.refine:gather",
        'key.child("key")',
        'key.child("noise")',
        "choice(2)",
    ),
    Mutant(
        "candidates are chosen without chance",
        "inference.refine:Candidates.offer",
        "log_weight - _uniforms(len(self.kept), stream, z.device)[rows].log().neg().log()",
        "log_weight",
        "choice(2)",
    ),
    Mutant(
        "a Langevin step is judged by the target alone",
        "inference.langevin:Walk.log_odds",
        "(back - forth)",
        "(there.log_weight - here.log_weight)",
        "langevin_moves(0.6)",
    ),
    Mutant(
        "Langevin moves forget the prior",
        "inference.langevin:Walk.log_odds",
        "- (u**2).sum(1) / 2",
        "+ 0.0",
        "langevin_moves(0.6)",
    ),
    Mutant(
        "a coin is turned over against its odds",
        "inference.langevin:Walk.flip",
        "metropolis(here.log_weight, there.log_weight,",
        "metropolis(there.log_weight, here.log_weight,",
        "langevin_coins()",
    ),
    Mutant(
        "cooling forgets its temperature",
        "inference.gibbs:anneal",
        "held, step / steps)",
        "held, 1.0)",
        "cooled_shares()",
    ),
    Mutant(
        "cooling ends before the model's own temperature",
        "inference.gibbs:anneal",
        "step / steps",
        "0.8 * step / steps",
        "cooled_law(rbm)",
    ),
    Mutant(
        "an estimator makes k + 1 sweeps",
        "recipes.contrastive:game_of",
        "steps=how.k,",
        "steps=how.k + 1,",
        "sweeps_of_an_update(rbm, 1)",
    ),
    Mutant(
        "samples are swept once too often",
        "inference.boltzmann:BoltzmannModel.sample",
        "state, sweeps, ",
        "state, sweeps + 1, ",
        "sweeps_of_an_update(dbm, 1)",
    ),
    Mutant(
        "Parzen's width is chosen on the test rows",
        "evaluation.parzen:parzen",
        "_scores(held, centres, widths)",
        "_scores(table, centres, widths)",
        "parzen_width()",
    ),
    Mutant(
        "the levels of a pyramid share their noise",
        "models.pyramid:PyramidGenerator.sample",
        'draw = stream.child("level", at)',
        'draw = stream.child("level", self.pyramid.levels)',
        "noise_of_a_pyramid()",
    ),
    Mutant(
        "a machine's average is ignored",
        "recipes.contrastive:whole_machine",
        "if how.average else None",
        "if False else None",
        "average_is_heeded(rbm)",
    ),
    Mutant(
        "a generator's average is ignored",
        "recipes.adversarial:play.stage",
        "Average(generator, how.average) if how.average else None",
        "None",
        "average_of_a_gan()",
    ),
    Mutant(
        "the critic moves once too often",
        "solvers.gradient_play:Alternating.step",
        "[first] * self.k",
        "[first] * (self.k + 1)",
        "turns_of_a_round()",
    ),
    Mutant(
        "gradients are paired with weights as flat memory",
        "solvers.solver:_laid_out",
        "if tensor.shape != parameter.shape or tensor.stride() == parameter.stride():",
        "if True:",
        "updates_heed_strides()",
    ),
    Mutant(
        "a classifier's average is ignored",
        "recipes.fine_tuning:fine_tuning",
        "if how.average else None",
        "if False else None",
        "average_is_heeded(fine-tuned)",
    ),
    Mutant(
        "biases start at zero",
        "recipes.contrastive:prepare",
        "machine.bias[name].copy_(machine.base(name))",
        "pass",
        "biases_at_the_base_rates(rbm)",
    ),
    Mutant(
        "rows are scored by the flattering side",
        "estimators.estimator:Trained._log_z",
        "self.log_partition_.value",
        "min((part.value for part in self.log_partition_.parts), "
        "default=self.log_partition_.value)",
        "scores_by_the_worse_side()",
    ),
    Mutant(
        "the flattering side is kept",
        "inference.partition:conservative",
        "max(parts, key",
        "min(parts, key",
        "scores_by_the_worse_side()",
    ),
    Mutant(
        "the way down starts from chains that did not settle",
        "inference.boltzmann:Chains.log_normaliser",
        "start, SETTLING, ",
        "start, 0, ",
        "settled_chains_anneal_down()",
    ),
    Mutant(
        "a ratio is judged by the samples that it was fitted on",
        "estimators.critic:Critic._both",
        "self._as_many(rows, stream)",
        'self._as_many(rows, self.stream.child("ratio"))',
        "fresh_samples_judge_a_ratio()",
    ),
    Mutant(
        "all stages read the rows in one order",
        "data.rows:Rows.batches",
        '"fixed" if self.binarise == "fixed" else name',
        '"fixed"',
        "batches_of_the_stages(dbm)",
    ),
    Mutant(
        "the weights of annealing add up in float32",
        "inference.partition:annealed",
        "dtype=torch.float64",
        "dtype=torch.float32",
        "annealing_adds_up_in_double_precision()",
    ),
    Mutant(
        "a network's layers are swept k + 1 times",
        "inference.belief:Belief.sample",
        "sweeps=sweeps",
        "sweeps=sweeps + 1",
        "sweeps_of_a_belief_network(2)",
    ),
    Mutant(
        "a layer's average is ignored",
        "recipes.greedy:greedy",
        "if how.average else None",
        "if False else None",
        "average_is_heeded(dbn)",
    ),
    Mutant(
        "a likelihood's average is ignored",
        "recipes.likelihood:maximum_likelihood",
        "if average else None",
        "if False else None",
        "average_is_heeded(made)",
    ),
    Mutant(
        "an autoregressive variable hears itself",
        "models.made:MADE.masks_of",
        "route.rank[self.field_owner][:, None] > heard[-1]",
        "route.rank[self.field_owner][:, None] >= heard[-1]",
        "density_sums_to_one(made)",
    ),
    Mutant(
        "a variable of the recursion hears itself",
        "models.nade:heard_of",
        "rank < numbers[:, None]",
        "rank <= numbers[:, None]",
        "density_sums_to_one(nade)",
    ),
    Mutant(
        "the orders of an ensemble are summed and not averaged",
        "models.autoregressive:Autoregressive.log_prob",
        " - math.log(len(scores))",
        "",
        "an_ensemble_is_a_mean()",
    ),
    Mutant(
        "fresh chains go on from one another",
        "inference.boltzmann:Chains.states",
        'gibbs.anneal(self.machine, missing, FRESH, stream.child("fresh").rows(before))',
        "{name: x[torch.arange(missing) % len(x)] for name, x in parts.items()}",
        "rows_beyond_the_chains_are_new(rbm)",
    ),
    Mutant(
        "fresh chains of a network go on from one another",
        "inference.boltzmann:Chains.states",
        'gibbs.anneal(self.machine, missing, FRESH, stream.child("fresh").rows(before))',
        "{name: x[torch.arange(missing) % len(x)] for name, x in parts.items()}",
        "rows_beyond_the_chains_are_new(dbn)",
    ),
    Mutant(
        "held-out rows are trained on",
        "data.rows:Rows.divided",
        "subset(self.values, own)",
        "self.values",
        "held_out_rows_stay_apart()",
    ),
    Mutant(
        "the density forgets the scale of the data",
        "estimators.estimator:Trained._unnormalised",
        "- self._log_volume(values)",
        "",
        "densities_in_the_datas_scale(rbm)",
    ),
    Mutant(
        "a label is taken for known where it is missing",
        "data.rows:with_labels",
        "(batch.label >= 0).unsqueeze(1)",
        "(batch.label >= -1).unsqueeze(1)",
        "missing_labels_are_free()",
    ),
    Mutant(
        "the positive phase of pretraining is not doubled",
        "recipes.contrastive:_Stack.gains",
        "above = 1.0 + sum(",
        "above = 1.0 + 0 * sum(",
        "pretraining_agrees_with_the_machine()",
    ),
    Mutant(
        "only one pretrained machine's bias is kept",
        "recipes.contrastive:_Stack.compose",
        "machine.bias[name].add_(",
        "machine.bias[name].copy_(",
        "pretraining_agrees_with_the_machine()",
    ),
    Mutant(
        "chains of a pretrained machine start anywhere",
        "recipes.contrastive:pretraining",
        "settle_game(whole, ",
        "(lambda *given: None)(whole, ",
        "chains_start_at_the_data()",
    ),
)
