"""The reference tools, and the hub that stands in for the real one, are found from here."""
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
