"""Where things are, and how patient the tests are: nothing is expected to be quick, only to happen."""
import os
import pathlib

ROOT = pathlib.Path(__file__).parent.parent.parent
GOLDEN = ROOT / "tests" / "fixtures" / "golden"
# The platform's number for the app.
TASK = 777
PATIENCE_S = 60


def binary():
    return pathlib.Path(os.environ.get("SERVE_BINARIES", ROOT / "target" / "debug")) / "serve-florence-2"
