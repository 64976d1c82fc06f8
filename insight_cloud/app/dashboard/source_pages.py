"""Pages about code that the server analyses: handing it in, and watching."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter, Response
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from insight_cloud.app import quotas
from insight_cloud.app.accounts import policy
from insight_cloud.app.dashboard import present, views
from insight_cloud.app.dashboard.forms import Form
from insight_cloud.app.dashboard.frames import InMember, Member, faults, go, parse_id
from insight_cloud.app.dashboard.heads import HOME, above, head_of
from insight_cloud.app.dashboard.views import Crumb, Field
from insight_cloud.app.projects import service as projects
from insight_cloud.app.projects.models import Project
from insight_cloud.app.sources import service as sources
from insight_cloud.app.sources.models import Place, Source
from insight_cloud.core.errors import Conflict, Invalid, TooLarge

__all__ = ["router"]

router = APIRouter()

_MIB = 1024 * 1024
_CHUNK_BYTES = 256 * 1024
_BESIDE_BYTES = 64 * 1024
"""What a form may hold beside its file."""


@router.get("/projects/{slug}/sources")
async def sources_page(visit: InMember, slug: str, cursor: str = "") -> Response:
    """List what was handed in, with the forms for more."""
    project = await projects.open(visit.context, visit.caller, slug)
    return await _sources_page(visit, project, cursor=cursor)


@router.post("/projects/{slug}/sources/archive")
async def add_archive(visit: InMember, slug: str) -> Response:
    """Take an archive from a form, and go where its analysis is watched."""
    project = await projects.open(visit.context, visit.caller, slug, "upload")
    values = {"file": "", "branch": ""}
    try:
        form = await _received(visit)
        values["branch"] = _text(form, "branch")
        file = _file(form)
        async with quotas.analysing(visit.context, visit.caller):
            source = await sources.add_archive(
                visit.context,
                visit.caller,
                project,
                Place(values["branch"] or None),
                _chunks(file),
                strip=bool(_text(form, "strip")),
            )
    except (Invalid, Conflict) as error:
        return await _sources_page(visit, project, form=faults(error, values), status=422)
    return go(f"/projects/{slug}/sources/{source.id}")


@router.post("/projects/{slug}/sources/clone")
async def add_clone(visit: InMember, slug: str, form: Form) -> Response:
    """Have a repository fetched, and go where its analysis is watched."""
    project = await projects.open(visit.context, visit.caller, slug, "upload")
    values = form.only("url", "ref", "branch")
    try:
        async with quotas.analysing(visit.context, visit.caller):
            source = await sources.add_clone(
                visit.context,
                visit.caller,
                project,
                Place(values["branch"] or None),
                url=values["url"],
                ref=values["ref"],
            )
    except (Invalid, Conflict) as error:
        return await _sources_page(visit, project, form=faults(error, values), status=422)
    return go(f"/projects/{slug}/sources/{source.id}")


@router.get("/projects/{slug}/sources/{source}")
async def source_page(visit: InMember, slug: str, source: str) -> Response:
    """Show how far an analysis is."""
    project = await projects.open(visit.context, visit.caller, slug)
    found = await sources.one(visit.context, project, parse_id(source))
    href = f"/projects/{slug}/sources/{found.id}"
    view = views.SourcePage(
        project=await head_of(visit, project, tab="sources"),
        href=href,
        title=_title(found),
        state=found.state,
        author=found.author,
        at=found.created_at,
        tries=found.tries,
        detail=found.detail,
        steps=found.steps,
        alive=found.is_alive,
        may_cancel=_may_upload(visit, project),
        events=f"/api/v1{href}/events",
        analysis_href=f"/projects/{slug}/analyses/{found.analysis}" if found.analysis else "",
    )
    crumbs = [*above(project), Crumb("Analysed by the server", f"/projects/{slug}/sources")]
    return visit.show("source.html", view, f"Analysis for {project.name}", crumbs=crumbs)


@router.post("/projects/{slug}/sources/{source}/cancel")
async def cancel(visit: InMember, slug: str, source: str) -> Response:
    """Stop an analysis."""
    project = await projects.open(visit.context, visit.caller, slug, "upload")
    id = parse_id(source)  # noqa: A001 - the API's word
    await sources.cancel(visit.context, visit.caller, project, id)
    return go(f"/projects/{slug}/sources/{id}", done="cancelled")


async def _sources_page(
    visit: Member,
    project: Project,
    *,
    cursor: str = "",
    form: dict[str, Field] | None = None,
    status: int = 200,
) -> Response:
    wanted = visit.context.settings.sources
    page = await sources.listed(visit.context, project, cursor=cursor or None)
    path = f"/projects/{project.slug}/sources"
    view = views.SourcesPage(
        project=await head_of(visit, project, tab="sources"),
        sources=tuple(
            views.SourceLine(str(one.id), _title(one), one.state, one.author, one.created_at)
            for one in page.items
        ),
        megabytes=wanted.archive_bytes // _MIB,
        hosts=wanted.hosts,
        next_href=present.href(path, cursor=page.next) if page.next else "",
        form=form or {},
    )
    title = f"Analysed by the server: {project.name}"
    return visit.show("sources.html", view, title, crumbs=[HOME], status=status, path=path)


def _title(source: Source) -> str:
    where = source.branch or "the default branch"
    if source.kind == "clone":
        return f"{source.url} {source.ref}".strip()
    return f"An archive of {where}" + (f", {source.commit[:10]}" if source.commit else "")


def _may_upload(visit: Member, project: Project) -> bool:
    if visit.caller.is_admin:
        return True
    return project.role is not None and policy.at_least(project.role, "triager")


async def _received(visit: Member) -> FormData:
    """The form with its file, which lies on disk; no more than the limit is read."""
    request, limit = visit.request, visit.context.settings.sources.archive_bytes + _BESIDE_BYTES

    async def measured() -> AsyncIterator[bytes]:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                why = f"is larger than {(limit - _BESIDE_BYTES) // _MIB} MiB"
                raise TooLarge(f"the archive {why}", problems=(("/body/file", why),))
            yield chunk

    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Invalid("this is no form with a file")
    try:
        parser = MultiPartParser(request.headers, measured(), max_files=1, max_fields=10)  # type: ignore[arg-type]
        return await parser.parse()
    except MultiPartException as error:
        raise Invalid(f"the form cannot be read: {error.message}") from error


def _file(form: FormData) -> UploadFile:
    file = form.get("file")
    if not isinstance(file, UploadFile) or not file.size:
        raise Invalid("choose a file", problems=(("/body/file", "choose a file"),))
    return file


def _text(form: FormData, name: str) -> str:
    value = form.get(name, "")
    return value.strip() if isinstance(value, str) else ""


async def _chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(_CHUNK_BYTES):
        yield chunk
