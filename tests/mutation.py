"""How many examples a state machine has: fewer of a mutant, most of which any of them notices."""

from __future__ import annotations

import os


def examples(count: int) -> int:
    """So many, or a tenth of them under mutmut, unless MUTANTS_MEET says that they meet all."""
    meets_few = "MUTANT_UNDER_TEST" in os.environ and os.environ.get("MUTANTS_MEET") != "all"
    return max(1, count // 10) if meets_few else count
