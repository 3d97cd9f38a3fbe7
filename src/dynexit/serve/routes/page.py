"""The page that shows decoding at work: one file, which asks for nothing from elsewhere."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

PAGE = Path(__file__).parents[1] / "page.html"
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
)

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> FileResponse:
    """The page."""
    headers = {"content-security-policy": f"{POLICY}; img-src data:; base-uri 'none'"}
    return FileResponse(PAGE, media_type="text/html", headers=headers)
