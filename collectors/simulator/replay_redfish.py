"""A recording of Redfish resources, played as a service without log-in that answers GET alone.

Source: DMTF DSP0266 1.20, sections 6.5 (ETag), 7.2 (GET), 7.3 (query parameters: an unknown one that begins with `$` is
answered with 501).
"""

import json
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

ROOT = "/redfish/v1"


def read_tree(recorded: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """Return the resources by their paths, from `{tree: FOLDER}` (relative to `folder`) or from `{path: resource}`.

    Raises:
        ValueError: a path outside /redfish, or a folder without an index.json that can be read; the message says which.
    """
    named = {_path(str(path)): resource for path, resource in recorded.items() if path != "tree"}
    if outside := [path for path in named if path != "/redfish" and not path.startswith(f"{ROOT}/") and path != ROOT]:
        raise ValueError(f"{outside[0]!r} is no path under {ROOT}")
    tree = _read_folder(folder / str(recorded["tree"])) if "tree" in recorded else {}
    return {"/redfish": {"v1": f"{ROOT}/"}, **tree, **named}


def _read_folder(folder: Path) -> Mapping[str, Any]:
    top = folder / "redfish" / "v1" if (folder / "redfish" / "v1").is_dir() else folder
    tree: dict[str, Any] = {}
    for path in sorted(top.rglob("index.json")):
        below = path.parent.relative_to(top).as_posix()
        try:
            tree[ROOT if below == "." else f"{ROOT}/{below}"] = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    if ROOT not in tree:
        raise ValueError(f"{top}/index.json, the service root of a Redfish tree, is not there")
    return tree


def _path(text: str) -> str:
    return "/" + text.strip("/")


@asynccontextmanager
async def played(recorded: Mapping[str, Any], folder: Path, port: int = 0) -> AsyncIterator[str]:
    """Serve the resources on a port of 127.0.0.1, 0 picks one, while the block runs; yield the URL."""
    tree = read_tree(recorded, folder)

    async def get(request: web.Request) -> web.Response:
        return _answer(tree, request)

    app = web.Application()
    app.router.add_get("/{path:.*}", get)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"redfish://127.0.0.1:{runner.addresses[0][1]}?tls=off"
    finally:
        await runner.cleanup()


def _answer(tree: Mapping[str, Any], request: web.Request) -> web.Response:
    if any(name.startswith("$") for name in request.query):
        return _error(501, "QueryNotSupported")
    path = _path(request.path)
    if path not in tree:
        return _error(404, "ResourceMissingAtURI")
    body = json.dumps(tree[path]).encode()
    etag = f'"{zlib.crc32(body):08x}"'
    headers = {"ETag": etag, "OData-Version": "4.0"}
    if request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, content_type="application/json", headers=headers)


def _error(status: int, name: str) -> web.Response:
    return web.json_response({"error": {"code": f"Base.1.18.{name}", "message": name}}, status=status)
