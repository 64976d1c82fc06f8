"""A built site on its way to people: only what changed is sent, and old pages keep working.

site = Site(open_store("s3://my-site"), base_url="https://example.com", purgers=[cloudflare])
wanted = read_build(Path("dist"), Rules())
print(site.plan(wanted, await site.read(), now()).changes)  # a dry run
await deploy(site, wanted, now(), notify=tell)  # after which the plan is empty
"""

from typing import TYPE_CHECKING

from insight_cloud.cdn.settings import CdnSettings
from insight_cloud.core import later

if TYPE_CHECKING:
    from insight_cloud.cdn.cloudflare import Cloudflare
    from insight_cloud.cdn.cloudfront import CloudFront
    from insight_cloud.cdn.delivery import Notify, Target, deploy
    from insight_cloud.cdn.deployment import Deployment, plan, urls
    from insight_cloud.cdn.files import File, Rules, read_build
    from insight_cloud.cdn.record import Record, now
    from insight_cloud.cdn.site import Found, Outcome, Purger, Site
    from insight_cloud.cdn.workers import Workers

__all__ = [
    "CdnSettings",
    "CloudFront",
    "Cloudflare",
    "Deployment",
    "File",
    "Found",
    "Notify",
    "Outcome",
    "Purger",
    "Record",
    "Rules",
    "Site",
    "Target",
    "Workers",
    "deploy",
    "now",
    "plan",
    "read_build",
    "urls",
]

__getattr__ = later.names(
    __name__,
    {
        "cloudflare": "Cloudflare",
        "cloudfront": "CloudFront",
        "delivery": "Notify Target deploy",
        "deployment": "Deployment plan urls",
        "files": "File Rules read_build",
        "record": "Record now",
        "site": "Found Outcome Purger Site",
        "workers": "Workers",
    },
)
