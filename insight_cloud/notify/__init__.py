"""Messages to the operator: Slack, e-mail, a signed webhook, and whatever Apprise knows.

slack = Slack("https://hooks.slack.com/services/...")
mail = Mail("smtp.example.com", to=["ops@example.com"], sender="insight@example.com")
async with Notifier([slack, mail], minimum={"email": "error"}) as notifier:
    report = await notifier.send(
        Message("Backup failed", "disk full", severity="error", source="backup.failed")
    )
    print(report.status, report.failed)  # a failing channel is reported, and never raised
"""

from typing import TYPE_CHECKING

from insight_cloud.core import later
from insight_cloud.notify.settings import NotifySettings

if TYPE_CHECKING:
    from insight_cloud.notify.apprise import Apprise
    from insight_cloud.notify.channel import Channel
    from insight_cloud.notify.checks import check
    from insight_cloud.notify.mail import Mail
    from insight_cloud.notify.message import SEVERITIES, Message, Severity
    from insight_cloud.notify.notifier import ChannelStats, Notifier
    from insight_cloud.notify.slack import Slack
    from insight_cloud.notify.webhook import Webhook

__all__ = [
    "SEVERITIES",
    "Apprise",
    "Channel",
    "ChannelStats",
    "Mail",
    "Message",
    "Notifier",
    "NotifySettings",
    "Severity",
    "Slack",
    "Webhook",
    "check",
]

__getattr__ = later.names(
    __name__,
    {
        "apprise": "Apprise",
        "channel": "Channel",
        "checks": "check",
        "mail": "Mail",
        "message": "SEVERITIES Message Severity",
        "notifier": "ChannelStats Notifier",
        "slack": "Slack",
        "webhook": "Webhook",
    },
)
