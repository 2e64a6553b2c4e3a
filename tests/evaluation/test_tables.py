"""Samples beside rows as people have them: alike, moved, without dependence, useless, leaking."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from equilibria import ChowLiuTree, evaluate, verdict
from equilibria.evaluation import (
    Evaluation,
    frechet,
    kernel,
    memorisation,
    prdc,
    two_sample,
)
from equilibria.evaluation.statistics import alike, encoded


def people(n: int, seed: int) -> pd.DataFrame:
    """Text, a category, whole and real numbers, a date, truth, gaps, a name and a constant."""
    draw = np.random.RandomState(seed)
    z = draw.normal(size=n)
    rows = pd.DataFrame(
        {
            "name": [f"p{seed}-{i}" for i in range(n)],
            "sex": np.where(z + draw.normal(size=n) > 0, "m", "f"),
            "age": np.round(40 + 10 * z + 3 * draw.normal(size=n)).astype(int),
            "income": np.exp(z + draw.normal(size=n)),
            "kind": pd.Categorical(
                draw.choice(list("abc"), n, p=[0.5, 0.3, 0.2]), list("abc"), ordered=True
            ),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta((100 * z).astype(int), "D"),
            "paid": draw.uniform(size=n) < 0.3,
            "place": "here",
        }
    )
    rows.loc[draw.uniform(size=n) < 0.1, "income"] = np.nan
    return rows


REAL, OTHER, HELD = people(500, 0), people(600, 1), people(400, 2)


@pytest.fixture(scope="module")
def alike_() -> Evaluation:
    return evaluate(REAL, OTHER, target="sex", control=HELD)


def test_fresh_rows_are_alike_of_use_and_leak_nothing(alike_: Evaluation) -> None:
    shorts = {name: one.short for name, one in alike_.answers.items()}
    assert shorts == {
        "margins": "yes",
        "associations": "yes",
        "told": "no",
        "use": "yes",
        "leaks": "no",
    }
    assert (alike_.rows, alike_.samples, alike_.control) == (500, 600, 400)
    assert alike_.left_out == ("name", "place")


def test_numbers_of_columns_are_those_of_the_frames(alike_: Evaluation) -> None:
    age = stats.ks_2samp(REAL.age, OTHER.age, method="asymp").statistic
    assert alike_.margins["of age"].value == pytest.approx(age)
    kinds = [frame.kind.value_counts(normalize=True, sort=False) for frame in (REAL, OTHER)]
    assert alike_.margins["of kind"].value == pytest.approx((kinds[0] - kinds[1]).abs().sum() / 2)
    gaps = alike_.margins["missing cells of income"]
    assert (gaps.value, gaps.ideal) == (OTHER.income.isna().mean(), REAL.income.isna().mean())
    both = [frame.age.corr(frame.income) for frame in (REAL, OTHER)]
    pair = alike_.associations["age and income"]
    assert pair.value == pytest.approx(1 - abs(both[0] - both[1]) / 2)
    days = [frame.age.corr(frame.since.astype("int64")) for frame in (REAL, OTHER)]
    assert alike_.associations["age and since"].value == pytest.approx(
        1 - abs(days[0] - days[1]) / 2
    )
    distances = [one.value for one in alike_.margins.measures[1:] if "missing" not in one.name]
    assert alike_.margins["column shapes"].value == pytest.approx(1 - np.mean(distances))


def test_it_prints_and_can_be_written_as_json(alike_: Evaluation) -> None:
    text = str(alike_)
    assert text.startswith("600 samples beside 500 rows, 400 held-out rows. Nothing is said of")
    assert all(str(one) in text for one in alike_.answers.values())
    assert "Kolmogorov distance of age" in text
    assert Evaluation.from_json(json.loads(json.dumps(alike_.to_json()))) == alike_
    assert alike_["told"] is alike_.told
    with pytest.raises(KeyError, match="expected one of"):
        alike_["telling"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        alike_.rows = 1  # type: ignore[misc]


def test_order_of_columns_types_and_seeds(alike_: Evaluation) -> None:
    """A file read anew has other types, and the same values."""
    other = OTHER[OTHER.columns[::-1]].assign(
        age=OTHER.age.astype("Float64"),
        sex=OTHER.sex.astype("category"),
        kind=OTHER.kind.astype(str),
    )
    again = evaluate(REAL, other, target="sex", control=HELD)
    assert again.margins == alike_.margins
    assert again.told == alike_.told
    assert evaluate(REAL, OTHER, target="sex", control=HELD, random_state=1).told != alike_.told


def test_shuffled_columns_have_margins_and_nothing_else() -> None:
    draw = np.random.RandomState(0)
    mixed = pd.DataFrame({k: draw.permutation(v.to_numpy()) for k, v in OTHER.items()})
    found = evaluate(REAL, mixed.astype(OTHER.dtypes), target="sex", control=HELD)
    shorts = {name: one.short for name, one in found.answers.items()}
    assert shorts == {
        "margins": "yes",
        "associations": "no",
        "told": "yes",
        "use": "no",
        "leaks": "no",
    }
    assert found.use["trained on samples"].value == pytest.approx(0.5, abs=0.12)
    assert "area under the curve" in found.use.sentence
    worst = found.associations.measures[1].name
    assert any(pair in worst for pair in ("age and since", "since and age"))


def test_a_moved_column_is_named_first() -> None:
    found = evaluate(REAL, OTHER.assign(age=OTHER.age + 8), control=HELD)
    assert found.margins.short == "no"
    assert "most Kolmogorov distance of age" in found.margins.sentence
    assert found.table[1][0] == "Kolmogorov distance of age"
    assert found.table[1][-1] == "not chance"
    assert [one.name for one in found.margins.measures if one.warning] == [
        "Kolmogorov distance of age"
    ]


def test_copies_leak_exact_or_with_noise() -> None:
    draw = np.random.RandomState(0)
    copies = REAL.iloc[draw.randint(0, 500, 500)]
    found = evaluate(REAL, copies, control=HELD).leaks
    assert found.short == "yes"
    assert found["nearest real rows"]["samples that are a training row"].value == 1
    noisy = copies.assign(income=copies.income * np.exp(0.01 * draw.normal(size=500)))
    found = evaluate(REAL, noisy, control=HELD).leaks
    assert found.short == "yes"
    # the attack: 1 − 1/e of the rows were copied
    assert found["held-out rows"].value > 0.7


def many_towns(n: int, seed: int) -> pd.DataFrame:
    """Two hundred and forty towns, most of them rare, and a number of three values."""
    draw = np.random.RandomState(seed)
    chance = 1 / np.arange(1, 241)
    town = draw.choice([f"t{i}" for i in range(240)], n, p=chance / chance.sum())
    return pd.DataFrame({"town": town, "size": draw.choice([0.5, 1.5, 2.5], n)})


def test_rows_of_other_rare_values_are_no_copies() -> None:
    """As many as there are, though rare values are one category."""
    real, drawn, held = many_towns(600, 0), many_towns(500, 1), many_towns(400, 2)

    def copies(rows: pd.DataFrame) -> float:
        known = set(map(tuple, real.to_numpy().tolist()))
        return float(np.mean([tuple(row) in known for row in rows.to_numpy().tolist()]))

    assert 0.3 < copies(drawn) < 0.8  # put together, more than nine in ten would be
    found = evaluate(real, drawn).leaks
    assert found["are a real row"].value == pytest.approx(copies(drawn))
    both = evaluate(real, drawn, control=held).leaks["nearest real rows"]
    for measure in (both, memorisation(drawn, real, held)):
        part = measure["samples that are a training row"]
        assert (part.value, part.ideal) == pytest.approx((copies(drawn), copies(held)))
    model = ChowLiuTree(random_state=0).fit(real)
    assert len(model.table_.rare_of(0)[0]) > 100
    said = verdict(model, held, train=real)["leak"]["nearest real"].parts[0]
    asked = model.sample(said.n, random_state=5)
    assert said.ideal == pytest.approx(copies(held))
    # two samples of some hundreds of the same law: 6 deviations of their difference
    assert abs(said.value - copies(asked)) < 6 * np.sqrt(0.5 / said.n)


def test_without_held_out_rows_copies_are_counted_and_nothing_is_concluded() -> None:
    copies = pd.concat([REAL[:100], OTHER[:300]])
    found = evaluate(REAL, copies, target="sex")
    assert (found.leaks.short, found.use.short, found.control) == ("unknown", "unknown", 0)
    whole = copies.dropna(subset="income")
    share = REAL[:100].income.notna().sum() / len(whole)
    assert found.leaks["are a real row"].value == pytest.approx(share)


def test_numbers_are_predicted_by_their_share_of_the_variance() -> None:
    found = evaluate(REAL, OTHER, target="age", control=HELD).use
    # age = 40 + 10 z + noise of 3, and since tells z: 100 / 109
    assert found["trained on samples"].value == pytest.approx(100 / 109, abs=0.06)
    assert found["samples less real rows"].value == pytest.approx(
        found["trained on samples"].value - found["trained on real rows"].value
    )
    assert found.short == "yes"


def test_several_classes_are_told_by_the_mean_of_each_against_the_rest() -> None:
    draw = np.random.RandomState(0)

    def three(n: int) -> pd.DataFrame:
        kind = draw.randint(0, 3, n)
        return pd.DataFrame(
            {"kind": np.array(list("xyz"))[kind], "size": kind + draw.normal(size=n)}
        )

    real, held = three(300), three(300)
    found = evaluate(real, three(300), target="kind", control=held).use
    # a class that was never drawn has ½
    missing = evaluate(real, three(300).query("kind != 'z'"), target="kind", control=held).use
    assert found.measures[0].value > 0.65
    assert missing.measures[0].value < found.measures[0].value - 0.05
    assert missing.short == "no"
    one = evaluate(real, real.assign(kind="x"), target="kind", control=held).use
    assert (one.short, one.sentence) == ("no", "kind has fewer than two values in the samples.")


def test_arrays_lists_and_one_column_do() -> None:
    draw = np.random.RandomState(0)
    found = evaluate(draw.normal(size=(200, 2)), draw.normal(size=(200, 2)).tolist(), target=1)
    assert found.margins["of column 0"].value < 0.3
    assert found.use.short == "no"
    one = evaluate(REAL[["age"]], OTHER[["age"]], target="age", control=HELD[["age"]])
    assert (one.associations.short, one.use.short) == ("unknown", "unknown")


def test_samples_without_a_column_s_cells_are_said_to_lack_them() -> None:
    found = evaluate(REAL, OTHER.assign(income=np.nan), control=HELD)
    assert found.margins["missing cells of income"].value == 1
    assert found.margins.short == "no"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"samples": OTHER.rename(columns={"age": "aeg"})}, "samples has the column 'aeg', which"),
        ({"samples": OTHER.drop(columns="age")}, "samples lacks the column 'age', which real has"),
        ({"samples": OTHER.assign(age="old")}, "'age' holds numbers in real and text in samples"),
        ({"samples": OTHER.assign(income=np.inf)}, "samples: column 'income' holds an infinite"),
        ({"samples": OTHER[:9]}, "samples has 9 rows; expected 10 or more"),
        ({"control": HELD[:3]}, "control has 3 rows; expected 10 or more"),
        ({"target": "agee"}, "target='agee' is no column; did you mean 'age'"),
        ({"target": "name"}, "target='name' is constant, or text whose values hardly recur"),
        ({"real": np.zeros(5)}, r"real has shape \(5,\)"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        evaluate(**{"real": REAL, "samples": OTHER, **change})


# ------------------------------------------------------------------ frames elsewhere


def test_numbers_are_in_deviations_of_the_first_table_whatever_the_others_hold() -> None:
    wild = OTHER.assign(income=OTHER.income * 1e6)
    table, (rows, _) = encoded(real=REAL, samples=wild)
    place = [i for i, own in enumerate(table.owner) if own == REAL.columns.get_loc("income")]
    assert np.nanstd(rows[:, place]) == pytest.approx(1)


def test_frames_go_into_every_comparison_of_rows() -> None:
    real, other, held = (frame.dropna() for frame in (REAL, OTHER, HELD))
    found = two_sample(REAL, OTHER)
    assert (found.n, found.warning) == (1100, "")
    assert two_sample(REAL, OTHER.assign(age=OTHER.age + 20)).warning
    for measure in (frechet, kernel, prdc):
        same, moved = (measure(real, x) for x in (other, other.assign(age=other.age + 40)))
        assert moved.value > same.value if measure is not prdc else moved.value < same.value
        with pytest.raises(ValueError, match=r"real: Input contains NaN in \d+ of 500 rows; leave"):
            measure(REAL, other)
    assert memorisation(real[:100], real, held).warning == "The samples copy training rows."
    assert memorisation(other, real, held).warning == ""


def test_plain_numbers_stay_as_they_are() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3, 400]})
    one, two = alike(one=frame, two=frame.to_numpy())
    assert one.tolist() == two.tolist() == [[1, 3], [2, 400]]
