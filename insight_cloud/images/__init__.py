"""Images in the right width and format, made once, from sources that may be hostile.

mounts = Mounts({"/photos/": Path("photos")})
images = Images(Workers(), mounts, store=Store(Path("cache")))
async with images:  # an ASGI application: mount it at /_image
    ...
picture(Described("/photos/cat.jpg", 4000, 3000), ours("/_image"), alt="A cat", sizes="50vw")
"""

from typing import TYPE_CHECKING

from insight_cloud.core import later
from insight_cloud.images.addresses import is_public
from insight_cloud.images.batch import Choices, Outcome
from insight_cloud.images.catalogue import Catalogue, Entry, File
from insight_cloud.images.endpoint import Images, Stats, digest
from insight_cloud.images.header import Header, Limits
from insight_cloud.images.header import read as read_header
from insight_cloud.images.markup import Described, image, picture, preload
from insight_cloud.images.settings import ImagesSettings
from insight_cloud.images.signature import Signer
from insight_cloud.images.sources import Mounts
from insight_cloud.images.store import Store
from insight_cloud.images.urls import Address, cloudflare, cloudfront, generic, ours
from insight_cloud.images.variants import DEVICE_WIDTHS, ICON_WIDTHS, QUALITIES, WIDTHS, Variant
from insight_cloud.images.workers import Made, Picture, Workers

if TYPE_CHECKING:
    from insight_cloud.images.remote import Remote

__all__ = [
    "DEVICE_WIDTHS",
    "ICON_WIDTHS",
    "QUALITIES",
    "WIDTHS",
    "Address",
    "Catalogue",
    "Choices",
    "Described",
    "Entry",
    "File",
    "Header",
    "Images",
    "ImagesSettings",
    "Limits",
    "Made",
    "Mounts",
    "Outcome",
    "Picture",
    "Remote",
    "Signer",
    "Stats",
    "Store",
    "Variant",
    "Workers",
    "cloudflare",
    "cloudfront",
    "digest",
    "generic",
    "image",
    "is_public",
    "ours",
    "picture",
    "preload",
    "read_header",
]

__getattr__ = later.names(__name__, {"remote": "Remote"})
