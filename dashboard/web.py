"""The dashboard's web server: waitress in threads of this process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from waitress.server import TcpWSGIServer, create_server
from waitress.wasyncore import close_all

from dashboard.app import create_app
from dashboard.live import Live
from dashboard.settings import DashboardSettings


@contextmanager
def serving(live: Live, settings: DashboardSettings, host: str | None, port: int | None) -> Iterator[str]:
    """Serve the dashboard in threads and yield its address; `host` and `port` win over the settings' own.

    Raises:
        OSError: it cannot listen there.
    """
    address, number = host or settings.host, settings.port if port is None else port
    dash = create_app(live, settings)
    channels: dict[int, Any] = {}
    try:
        server = create_server(dash.server, map=channels, host=address, port=number, threads=8, asyncore_use_poll=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"cannot listen on {address}:{number}: {reason}; give another --port or --host") from error
    if not isinstance(server, TcpWSGIServer):
        raise OSError(f"{address} names more than one address: give one, for example 127.0.0.1 or 0.0.0.0")
    thread = threading.Thread(target=server.run, name="web")
    thread.start()
    try:
        yield f"http://{address}:{server.getsockname()[1]}"
    finally:
        # Only the loop's own thread may close its channels; without any it ends.
        trigger: Any = server.trigger
        trigger.pull_trigger(lambda: close_all(channels))
        thread.join()
        server.task_dispatcher.shutdown()
