"""How numbers are shown, and that their exact value travels with them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpdu.reporting.formatting import count, decimal, duration, exact, nats, percent


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (percent(0.745), "74.5%"),
        (percent(0.7445), "74.5%"),  # 74.45 is 74.4500000001 in binary
        (percent(0.28499), "28.5%"),
        (percent(1.0), "100.0%"),
        (percent(0.1, 0), "10%"),
        (percent(None), "–"),
        (percent(float("nan")), "–"),
        (count(5918), "5,918"),
        (count(0), "0"),
        (count(None), "–"),
        (nats(0.017145103), "0.0171"),
        (nats(3.1e-7), "3.1×10⁻⁷"),
        (nats(0), "0"),
        (nats(None), "∞"),
        (duration(661), "11m 1s"),
        (duration(725), "12m 5s"),
        (duration(180), "3m"),
        (duration(7.25), "7.3s"),
        (duration(59.7), "1m"),
        (duration(4000), "1h 6m"),
        (duration(0), "0s"),
        (decimal(0.51234), "0.512"),
        (decimal(-0.5, 0), "-1"),
    ],
)
def test_known_numbers(shown, expected):
    assert shown == expected


@given(st.floats(-1e12, 1e12, allow_nan=False))
def test_exact_value_survives_in_the_element(value):
    element = exact(decimal)(value)
    assert float(element.split('"')[1]) == value


@given(st.floats(0, 1))
def test_percentage_is_within_half_of_its_last_digit(value):
    assert abs(float(percent(value).rstrip("%")) - 100 * value) <= 0.05 + 1e-6


@given(st.floats(0, 1e6))
def test_duration_is_never_odd(value):
    assert "60s" not in duration(value)
    assert "60m" not in duration(value)
