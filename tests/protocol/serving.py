"""Serves an ASGI application on a Unix socket, in a thread, for the time of a `with`."""

import socket
import threading
from contextlib import contextmanager

import uvicorn


@contextmanager
def served(app, folder):
    path = str(folder / "f.sock")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"unix:{path}"
    finally:
        server.should_exit = True
        thread.join(60)
