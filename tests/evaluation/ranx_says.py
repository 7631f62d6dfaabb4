"""What ranx makes of the lists on standard input, as JSON: a process of its own, so that its kernels need no compiling."""

from __future__ import annotations

import json
import sys

from ranx import Qrels, Run, evaluate

asked = json.load(sys.stdin)
qrels = Qrels({f"q{i:04}": {f"d{item}": 1 for item in want} for i, want in enumerate(asked["relevant"])})
run = Run({f"q{i:04}": {f"d{item}": -float(p) for p, item in enumerate(row)} for i, row in enumerate(asked["ranked"])})
found = {metric: list(map(float, evaluate(qrels, run, metric, return_mean=False))) for metric in asked["metrics"]}
json.dump(found, sys.stdout)
