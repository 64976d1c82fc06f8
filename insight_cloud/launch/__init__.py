"""The launch of a deployment: a checklist whose items ask their own questions.

list_ = checklist()
target = Target(now=datetime.now(UTC), checklist=list_, url="https://shop.example")
run = await make(target, list_.of("before"))
found = standings(run, waivers=records.waivers(), now=target.now)
print(verdict(found), [one.answer.id for one in found if one.blocks])
"""

from typing import TYPE_CHECKING

from insight_cloud.core import later

if TYPE_CHECKING:
    from insight_cloud.launch.file import LaunchFile
    from insight_cloud.launch.gate import Signature, Standing, Waiver, changes, standings, verdict
    from insight_cloud.launch.items import PHASES, Checklist, Item, checklist
    from insight_cloud.launch.records import Records
    from insight_cloud.launch.run import Answer, Run, make
    from insight_cloud.launch.success import Success, measure
    from insight_cloud.launch.target import NotRun, Target

__all__ = [
    "PHASES",
    "Answer",
    "Checklist",
    "Item",
    "LaunchFile",
    "NotRun",
    "Records",
    "Run",
    "Signature",
    "Standing",
    "Success",
    "Target",
    "Waiver",
    "changes",
    "checklist",
    "make",
    "measure",
    "standings",
    "verdict",
]

__getattr__ = later.names(
    __name__,
    {
        "file": "LaunchFile",
        "gate": "Signature Standing Waiver changes standings verdict",
        "items": "PHASES Checklist Item checklist",
        "records": "Records",
        "run": "Answer Run make",
        "success": "Success measure",
        "target": "NotRun Target",
    },
)
