from .backbones.registry import list_backbones as list_backbones
from .benchmark.evaluate import evaluate as evaluate
from .config import MatcherConfig as MatcherConfig
from .config import load_config as load_config
from .errors import GCMError as GCMError
from .matcher import Matcher as Matcher
from .matcher import match as match
from .matches import Matches as Matches

__version__: str
