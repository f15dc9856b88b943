"""The web application: pages, theme, security headers and the live routes on one Flask server."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import dash
from flask import Flask, Response, request

from dashboard import theme
from dashboard.api import register
from dashboard.live import Live
from dashboard.pages import efficiency, fabric, facilities, wall
from dashboard.settings import DashboardSettings

ASSETS = Path(__file__).parent / "assets"

#: boot.js stands in the head by itself; licences are served, not loaded
ASSETS_NOT_LOADED = r"^boot\.js$"

INDEX = """<!DOCTYPE html>
<html lang="en">
  <head>
    {%metas%}
    <title>{%title%}</title>
    <link rel="icon" href="/assets/favicon.svg" type="image/svg+xml">
    <link rel="preload" href="/assets/vendor/inter.woff2" as="font" type="font/woff2" crossorigin>
    <link rel="stylesheet" href="/theme.css">
    <script src="/theme.js"></script>
    <script src="/assets/boot.js"></script>
    {%css%}
  </head>
  <body>
    {%app_entry%}
    <footer>
      {%config%}
      {%scripts%}
      {%renderer%}
    </footer>
  </body>
</html>
"""


def create_app(live: Live, settings: DashboardSettings) -> dash.Dash:
    """Return the application; `.server` is the WSGI application to serve.

    It opens no store and starts no thread: `live` does. One process may make several.
    """
    app = dash.Dash(
        __name__,
        assets_folder=str(ASSETS),
        assets_ignore=ASSETS_NOT_LOADED,
        use_pages=True,
        pages_folder="",
        include_pages_meta=False,
        title=settings.title,
        update_title="",  # the default flips the tab's title to "Updating..." on every request
        index_string=INDEX,
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
        enable_mcp=False,
    )
    server: Flask = app.server
    _register_pages(settings.title)
    app.layout = dash.html.Div(dash.page_container)
    _serve_theme(server)
    register(server, live)
    _harden(app, server)
    return app


def _register_pages(title: str) -> None:
    for order, (module, path, name) in enumerate(
        (
            (wall, "/", "Wall"),
            (facilities, "/facilities", "Facilities"),
            (efficiency, "/efficiency", "Efficiency"),
            (fabric, "/fabric", "Fabric"),
        )
    ):
        dash.register_page(  # type: ignore[no-untyped-call]
            module.__name__, path=path, name=name, title=f"{name} · {title}", order=order, layout=module.layout
        )


def _serve_theme(server: Flask) -> None:
    """Serve the tokens from memory: nothing is written to disk."""
    server.add_url_rule("/theme.css", "theme_css", _constant(theme.stylesheet(), "text/css"))
    server.add_url_rule("/theme.js", "theme_js", _constant(theme.script(), "text/javascript"))


def _constant(text: str, mimetype: str) -> Callable[[], Response]:
    etag = sha256(text.encode()).hexdigest()[:16]

    def view() -> Response:
        response = Response(text, mimetype=mimetype, headers={"Cache-Control": "no-cache"})
        response.set_etag(etag)
        response.make_conditional(request)
        return response

    return view


def _harden(app: dash.Dash, server: Flask) -> None:
    """Allow scripts, styles and requests of this server alone, and no frame of another's.

    React and Plotly set styles inline, hence `unsafe-inline` for styles; Dash's own inline scripts go by hash.
    """
    policy: list[str] = []

    @server.after_request
    def headers(response: Response) -> Response:
        if not policy:
            # Only now: Dash makes the scripts that are hashed when it serves its first page.
            policy.append(_policy(app.csp_hashes()))
        response.headers["Content-Security-Policy"] = policy[0]
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Frame-Options"] = "SAMEORIGIN"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        response.headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
        return response


def _policy(hashes: Sequence[str]) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' {' '.join(hashes)}",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self'",
            "connect-src 'self'",
            "manifest-src 'self'",
            "frame-ancestors 'self'",
            "base-uri 'self'",
            "form-action 'self'",
        )
    )
