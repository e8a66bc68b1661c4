"""Training descriptors from a frozen teacher, on photos and pairs of them (docs/method.md, "Distillation").

    >>> from pathlib import Path
    >>> from gcm.distillation import distill, load_recipe
    >>> distill(load_recipe(Path("recipe.yml")), Path("photos"), Path("run"))

Names are imported when first used: a recipe is read without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
