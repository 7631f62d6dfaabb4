"""M2, implicit matrix factorization: the source `Als` and the solver that learns it."""

from segue.candidates.als.solver import Factorizer, Factors
from segue.candidates.als.source import Als

__all__ = ["Als", "Factorizer", "Factors"]
