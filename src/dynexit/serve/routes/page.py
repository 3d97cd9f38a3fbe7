"""The page that shows decoding at work: a few files, which load nothing from other hosts."""

from pathlib import Path

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse

FOLDER = Path(__file__).parents[1] / "page"
KINDS = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".txt": "text/plain"}
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    ),
    "cache-control": "no-cache",  # asked for anew: another version may be served by now
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> FileResponse:
    """The page."""
    return await part("page.html")


@router.get("/page/{name:path}")
async def part(name: str) -> FileResponse:
    """One of its files."""
    known = {file.relative_to(FOLDER).as_posix(): file for file in FOLDER.rglob("*.*")}
    if name not in known:
        raise HTTPException(404, "there is no such file")
    kind = KINDS[known[name].suffix]
    return FileResponse(known[name], media_type=kind, headers=HEADERS)
