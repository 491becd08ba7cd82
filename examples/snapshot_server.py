"""A web page with the newest picture of a camera and what is on it.

    ~/.armlet/python -m device_agent serve --name mobilenet --socket serve.sock &
    python3 snapshot_server.py serve.sock mobilenet /var/spool/camera --port 8000

``/`` is the page, ``/snapshot.jpg`` the picture, ``/snapshot.json`` the answer. The program has no model, no numpy and
no Pillow: it hands the file to `serve` (which needs Pillow to read it) and passes its answer on, refusals included. It
listens on the loopback; put a web server with a password in front of it to show it to others.
"""

from __future__ import annotations

import argparse
import html
import http.client
import http.server
import json
import socket
from pathlib import Path

TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(path: str, model: str, picture: Path) -> tuple[int, bytes]:
    """Status and body of what `serve` says of a picture."""
    connection = UnixConnection(path)
    try:
        headers = {"Content-Type": TYPES[picture.suffix.lower()]}
        connection.request("POST", f"/v1/models/{model}:predict?top=3", picture.read_bytes(), headers)
        response = connection.getresponse()
        return response.status, response.read()
    except OSError as error:
        return 502, json.dumps(
            {"error": type(error).__name__, "what": f"serve does not answer: {error}"}
        ).encode()
    finally:
        connection.close()


class Page(http.server.BaseHTTPRequestHandler):
    """What is answered; the class attributes are set by ``main``."""

    socket_path: str
    model: str
    folder: Path

    def do_GET(self) -> None:
        pictures = [path for path in self.folder.iterdir() if path.suffix.lower() in TYPES]
        picture = max(pictures, key=lambda path: path.stat().st_mtime_ns, default=None)
        if picture is None:
            self.answer(404, "text/plain", b"no picture yet\n")
        elif self.path == "/snapshot.jpg":
            self.answer(200, TYPES[picture.suffix.lower()], picture.read_bytes())
        elif self.path == "/snapshot.json":
            status, body = ask(self.socket_path, self.model, picture)
            self.answer(status, "application/json", body)
        elif self.path == "/":
            status, body = ask(self.socket_path, self.model, picture)
            said = json.loads(body)
            top = said.get("top") or [{"label": said.get("what"), "score": None, "index": ""}]
            rows = "".join(
                f"<li>{html.escape(str(row['label'] or row['index']))} {row['score'] or ''}</li>"
                for row in top
            )
            text = f'<meta http-equiv="refresh" content="2"><img src="/snapshot.jpg" width="480"><ol>{rows}</ol>\n'
            self.answer(status, "text/html; charset=utf-8", text.encode())
        else:
            self.answer(404, "text/plain", b"there are /, /snapshot.jpg and /snapshot.json\n")

    def answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("socket", help="where `serve` listens")
    parser.add_argument("model", help="name of a model that it serves")
    parser.add_argument("folder", type=Path, help="where the camera's pictures come")
    parser.add_argument(
        "--port", type=int, default=8000, help="of the loopback; 0 takes a free one (default: 8000)"
    )
    options = parser.parse_args()
    Page.socket_path, Page.model, Page.folder = options.socket, options.model, options.folder
    with http.server.ThreadingHTTPServer(("127.0.0.1", options.port), Page) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
