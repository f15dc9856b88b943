"""What is logged: what changes, and no library's chatter."""

import logging
import os
import sys

#: libraries that log each connection, job or queue
CHATTY = ("amqtt", "apscheduler", "transitions", "waitress.queue")


def quiet() -> None:
    """Log what changes in our rooms, and of libraries only errors."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for room in ("collectors", "dashboard", "storage"):
        logging.getLogger(room).setLevel(logging.INFO)
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(logging.ERROR)
    # gRPC's C core writes a line for every server that goes away; the poller says it once.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
