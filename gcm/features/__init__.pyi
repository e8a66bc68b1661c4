from .batching import Request as Request
from .batching import run_alone as run_alone
from .batching import run_batched as run_batched
from .cache import FeatureCache as FeatureCache
from .device import choose_device as choose_device
from .extractor import FeatureExtractor as FeatureExtractor
from .folder import FeatureFolder as FeatureFolder
from .pyramid import Pyramid as Pyramid
