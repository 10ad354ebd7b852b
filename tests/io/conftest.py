"""The folder of this file is put on the path, so that the tests of io share their makers of files."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
