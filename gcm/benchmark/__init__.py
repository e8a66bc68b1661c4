"""Benchmarks: data sets of image pairs, matching all of them, and scoring the matches. Imports no torch.

The steps are functions of their modules: :func:`gcm.benchmark.hpatches.organise_hpatches`,
:func:`gcm.benchmark.extract.extract`, :func:`gcm.benchmark.evaluate.evaluate` (also ``gcm.evaluate``),
:func:`gcm.benchmark.convert.convert`.
"""

from gcm.benchmark.convert import Conversion
from gcm.benchmark.evaluate import Evaluation, score_pair
from gcm.benchmark.extract import Extraction
from gcm.benchmark.hpatches import organise_hpatches
from gcm.benchmark.layout import Prediction, prediction_path, read_places, read_prediction
from gcm.benchmark.pairs import Pair, read_homography, read_pairs
from gcm.benchmark.workers import Outcome, match_pairs
from gcm.metrics.protocols import PairScore, Protocol

__all__ = [
    "Conversion",
    "Evaluation",
    "Extraction",
    "Outcome",
    "Pair",
    "PairScore",
    "Prediction",
    "Protocol",
    "match_pairs",
    "organise_hpatches",
    "prediction_path",
    "read_homography",
    "read_pairs",
    "read_places",
    "read_prediction",
    "score_pair",
]
