"""The pairwise tables of tests."""

import itertools

from cover import covered, covering


def test_every_pair_of_values_occurs_and_few_combinations_do():
    factors = ["abcd", "xyz", [1, 2, 3], [True, False]]
    rows = [tuple(factor[i] for factor, i in zip(factors, row, strict=True)) for row in covering(*factors)]
    for i, j in itertools.combinations(range(4), 2):
        assert {(row[i], row[j]) for row in rows} == set(itertools.product(factors[i], factors[j]))
    assert len(rows) <= 16 and len(covering(*factors, ways=1)) == 4 and len(set(covering(*factors, ways=4))) == 72


def test_what_does_not_fit_is_left_out_and_the_rest_is_slow():
    params = covered("abc", [1, 2, 3, 4], ways=1, fits=lambda letter, number: letter != "a" or number == 1)
    quick = [param.values for param in params if not param.marks]
    assert len(params) == 9 and len(quick) == 4 and ("a", 1) in quick and {number for _, number in quick} == {1, 2, 3, 4}
    assert params[0].id == "a-1"
