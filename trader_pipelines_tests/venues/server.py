"""A real HTTP server over a folder that can be told to fail, for tests of http archives."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit


@dataclass
class Server:
    """What the server was asked, and what it shall answer.

    Parameters
    ----------
    folder : Path
        Served as it is; what is not there is a 404.
    statuses : list of int
        Answers to the next requests, before any file is served.
    cuts : int
        How many bodies still to break off in their middle.
    """

    folder: Path
    url: str = ""
    statuses: list[int] = field(default_factory=list)
    cuts: int = 0
    asked: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)

    def with_secrets(self) -> str:
        """The address with a user, a password and a signature in its query."""
        return self.url.replace("http://", "http://alice:s3cr3t@") + "?sig=t0k3n"


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Serve a folder on a free port of this machine until the block ends."""
    server = Server(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.path)
            server.authorizations.append(self.headers["Authorization"])
            file = server.folder / urlsplit(self.path).path.lstrip("/")
            if server.statuses:
                return self.send_error(server.statuses.pop(0))
            if not file.is_file():
                return self.send_error(404)
            body = file.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if server.cuts > 0:
                server.cuts -= 1
                body = body[: len(body) // 2]
            self.wfile.write(body)
            return None

        def log_message(self, format: str, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
