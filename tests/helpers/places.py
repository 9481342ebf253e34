"""Where the folders of this repository are."""

from pathlib import Path


ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "jaxfactory"
TESTS = ROOT / "tests"
EXAMPLES = ROOT / "examples"
# Small experiments that Sample Factory wrote, with its networks' answers.
EXPERIMENTS = TESTS / "data" / "sample_factory"
