"""McNemar's test, exact: do two models on the same images differ by more than chance? PURE."""

from __future__ import annotations


def p_value(only_first: int, only_second: int) -> float:
    """How likely images on which just one model is right would be divided at least as unevenly, were both as good.

    Two-sided, by the binomial distribution of those images with a half for each model; 1 where there are none.
    (McNemar, Psychometrika 12, 1947.)
    """
    images = only_first + only_second
    term = tail = 1
    for taken in range(min(only_first, only_second)):
        term = term * (images - taken) // (taken + 1)
        tail += term
    share: float = 2 * tail / 2**images
    return min(1.0, share)
