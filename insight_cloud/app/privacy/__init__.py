"""How much about the code leaves a machine, and what a project takes: five levels.

level           a body holds
--------------  ------------------------------------------------------------------
counts          numbers by tool, severity and category; files, lines, durations, versions
metadata        + rule, relative path, line, keyed hashes; texts are the rule's own
findings        + messages and further places, credentials masked
snippets        + the three lines before and after a finding, credentials masked
source          any log as it is, and archives of the code for a server-side analysis

Each level but the last is an allow-list (`schemas`): what it does not name is refused, with its
JSON pointer. The client reduces what it sends (`reduce`) and checks the bytes (`check`) before
they leave; the server checks what it received against what the project accepts.
"""

from __future__ import annotations

from insight_cloud.app.privacy.check import Find, faults, require
from insight_cloud.app.privacy.levels import LEVELS, MEANINGS, Level, admits
from insight_cloud.app.privacy.mask import masked
from insight_cloud.app.privacy.reduce import Keyed, counts, log, with_snippets, without_credentials
from insight_cloud.app.privacy.schemas import schema

__all__ = [
    "LEVELS",
    "MEANINGS",
    "Find",
    "Keyed",
    "Level",
    "admits",
    "counts",
    "faults",
    "log",
    "masked",
    "require",
    "schema",
    "with_snippets",
    "without_credentials",
]
