"""Gates: a name, one comparison, a number; everything else is refused in one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpdu.common import UserError
from tfpdu.common.gate import Gate

NUMBERS = {
    "equalized_odds.ci_low": [0.05, 0.2],
    "moments.ci_low": [0.5],
    "gender.tpr.value": [None],
    "mixed": [0.1, None],
}


@pytest.mark.parametrize(
    ("text", "fires"),
    [
        ("equalized_odds.ci_low>0.1", True),
        ("equalized_odds.ci_low > 0.2", False),
        ("equalized_odds.ci_low>=0.2", True),
        ("equalized_odds.ci_low<0.1", True),
        ("equalized_odds.ci_low<=0.04", False),
        ("moments.ci_low>.55", False),
        ("moments.ci_low>4e-1", True),
        ("mixed>0.05", True),  # one number is enough to fire
    ],
)
def test_a_gate_fires_when_any_of_its_numbers_meets_the_condition(text, fires):
    line = Gate.parse(text).fires(NUMBERS)
    assert (line is not None) == fires


def test_the_line_names_the_worst_number_and_the_limit():
    assert Gate.parse("equalized_odds.ci_low>0.01").fires(NUMBERS) == (
        "equalized_odds.ci_low is 0.2, the gate fires at >0.01"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "equalized_odds",
        "equalized_odds.ci_low>",
        ">0.1",
        "a>b",
        "a>0.1>0.2",
        "a>nan",
        "a>inf",
        "a==0.1",
        "a!=1",
        "a>0.1 or b>0.2",
        "a>1,b>2",
        "a>__import__('os')",
        "a>1+1",
    ],
)
def test_other_forms_are_refused_with_an_example(text):
    with pytest.raises(UserError, match=r"expected a name.*e\.g\."):
        Gate.parse(text)


def test_an_unknown_name_is_refused_with_the_nearest_and_the_known_ones():
    with pytest.raises(
        UserError, match=r"unknown 'equalised_odds.ci_low', did you mean 'equalized_odds.ci_low'\?; known: eq"
    ):
        Gate.parse("equalised_odds.ci_low>0.1").fires(NUMBERS)


@pytest.mark.parametrize("text", ["gender.tpr.value>0.1", "mixed>0.5"])
def test_what_could_not_be_estimated_passes_no_gate(text):
    with pytest.raises(UserError, match="not estimable"):
        Gate.parse(text).fires(NUMBERS)


@given(st.text(max_size=30))
def test_any_text_is_a_gate_or_a_users_error(text):
    try:
        gate = Gate.parse(text)
    except UserError:
        return
    assert Gate.parse(str(gate)).name == gate.name
