"""From images to feature pyramids.

What needs features asks for them with a `Request` (:mod:`gcm.features.batching`); a `FeatureExtractor`
answers, several requests together, and remembers what it computed in a `FeatureCache` of bounded size.
Names are imported when first used: the cache is also for those who do without PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
