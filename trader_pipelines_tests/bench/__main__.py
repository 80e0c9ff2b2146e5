"""Run benchmarks: ``python -m trader_pipelines_tests.bench [names]``, all modules by default."""

import importlib
import json
import pkgutil
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

import trader_pipelines_tests.bench as package

RESULTS = Path(".trader/bench.json")


def main(names: list[str]) -> int:
    """Run each module's `run`, print its figures and merge them into ``.trader/bench.json``."""
    known = [
        module.name
        for module in pkgutil.iter_modules(package.__path__)
        if not module.name.startswith("_")
    ]
    if unknown := [name for name in names if name not in known]:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    for name in names or known:
        figures = importlib.import_module(f"{package.__name__}.{name}").run()
        shown = Table("benchmark", "figure", title=name)
        for key, value in sorted(figures.items()):
            shown.add_row(key, f"{value:.4g}")
        Console().print(shown)
        merge(RESULTS, figures)
    return 0


def merge(path: Path, figures: dict[str, float]) -> None:
    """Put figures beside those that are there; one object, name to number."""
    before = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(sorted({**before, **figures}.items())), indent=2) + "\n")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
