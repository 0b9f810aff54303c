"""Import it before a module of ../train_shared, which it makes importable."""

import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1] / "train_shared"))
