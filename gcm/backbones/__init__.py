"""Backbones: networks that turn an image into maps, from fine to coarse; one file a family.

    from gcm.backbones import backbone_info, create_backbone
    backbone_info("RESNET18").strides       # (2, 4, 8, 16); no network is built for this
    create_backbone("RESNET18")             # with its default weights

A family declares its backbones (:class:`BackboneInfo`: taps, strides, channels, normalisation, weights) and
builds them; `registry` finds both by name, those of other packages (docs/add-a-backbone.md) and timm's
included. torchvision and timm are imported when a backbone needs them. Names are imported when first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
