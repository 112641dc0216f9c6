"""Step that breaks the rules on purpose: its generator has no seed.

With `determinism: strict` Lineal runs it again, sees other bytes and says so.
`numpy.random.default_rng(step.seed())` would be right.
"""

import json

import numpy

from src import step


def main() -> None:
    """Write five row numbers, others at each run."""
    rows = numpy.random.default_rng().integers(0, 1_000_000, size=5)
    text = json.dumps({"rows": rows.tolist()}) + "\n"
    step.target("sample.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
