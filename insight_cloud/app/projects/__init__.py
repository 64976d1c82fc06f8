"""What is analysed, and who belongs to it.

from insight_cloud.app.projects import service as projects

async def upload(context: Context, caller: Caller, slug: str) -> None:
    project = await projects.ensure(context, caller, slug)
    branch = project.default_branch
    key = project.hash_key
"""

from insight_cloud.app.projects.models import Member, Project, ProjectPage, PublicProject

__all__ = ["Member", "Project", "ProjectPage", "PublicProject"]
