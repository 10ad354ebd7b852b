"""The folder of this file is put on the path, so that the fuzz tests share their table of parsers."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
