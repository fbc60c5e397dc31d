"""A server on 127.0.0.1 that speaks the part of the Hugging Face Hub which its client uses here."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_canary0123456789abcdefghijklmnop"
COMMIT = "c0ffee" + "0" * 34


class FakeHub(ThreadingHTTPServer):
    """One repository, in memory. `failures` maps the beginning of "METHOD /path" to what happens instead: a
    status code, "cut" for a connection that ends in the middle of the answer, "more" for an answer of 300 MB,
    "drip" for one of a byte a second."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.stored: dict[str, bytes] = {}  # large files by SHA-256
        self.failures: dict[str, int | str] = {}
        self.cuts_left = 10**9
        self.requests: list[str] = []
        self.created: list[dict] = []
        self.commits = 0
        self.sent_bytes = 0
        self.closing = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.closing.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, address):
        """The client may go away at any time."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeHub

    def log_message(self, *args):
        """Nothing."""

    def _answer(self, content, status=200, head=False, **headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(data), "X-Request-Id": "r1", **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if not head:
            self.wfile.write(data)

    def _fails(self) -> bool:
        line = f"{self.command} {self.path}"
        self.server.requests.append(line)
        for beginning, failure in self.server.failures.items():
            if line.startswith(beginning):
                if failure == "cut":
                    return self._cut()
                if failure == "more":
                    return self._more()
                if failure == "drip":
                    return self._drip()
                said = {"error": f"no, {self.headers.get('Authorization')}"}
                self._answer(said, failure, head=self.command == "HEAD")
                return True
        return False

    def _cut(self) -> bool:
        if self.server.cuts_left <= 0:
            return False
        self.server.cuts_left -= 1
        self.close_connection = True
        name = self.path.rpartition("/")[2]
        if self.command == "GET" and name in self.server.files:
            data = self.server.files[name]
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
        return True

    def _more(self) -> bool:
        self.send_response(200)
        self.send_header("Content-Length", str(300 * 2**20))
        self.end_headers()
        for _ in range(300):
            self.wfile.write(bytes(2**20))
            self.server.sent_bytes += 2**20
        return True

    def _drip(self) -> bool:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        while not self.server.closing.wait(1.0):
            self.wfile.write(b" ")
        return True

    def _allowed(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._answer({"error": "Invalid username or password."}, 401)
        return False

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self):
        body = self._body()
        if self._fails() or not self._allowed():
            return
        hub = self.server
        if self.path == "/api/repos/create":
            hub.created.append(json.loads(body))
            name = "/".join(filter(None, [hub.created[-1].get("organization"), hub.created[-1]["name"]]))
            self._answer({"url": f"{hub.url}/{name}", "name": name})
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            large = (".safetensors", ".mp4")
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(large) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**o, "actions": {"upload": {"href": f"{hub.url}/store/{o['oid']}", "header": {}}}}
                for o in json.loads(body)["objects"]
            ]
            self._answer({"transfer": "basic", "objects": objects})
        elif "/commit/" in self.path:
            self._commit([json.loads(line) for line in body.splitlines()])
        else:
            self._answer({"error": "unknown"}, 404)

    def _commit(self, lines):
        hub = self.server
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                hub.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                hub.files[value["path"]] = hub.stored[value["oid"]]
        hub.commits += 1
        self._answer({"commitUrl": f"{hub.url}/me/agent/commit/{COMMIT}", "commitOid": COMMIT})

    def do_PUT(self):
        body = self._body()
        if self._fails():
            return
        self.server.stored[hashlib.sha256(body).hexdigest()] = body
        self._answer(b"")

    def do_HEAD(self):
        self._file(head=True)

    def do_GET(self):
        self._file(head=False)

    def _file(self, head):
        if self._fails():
            return
        name = self.path.rpartition("/")[2]
        if "/resolve/" not in self.path or name not in self.server.files:
            self._answer(b"", 404, head, X_Error_Code="EntryNotFound")
            return
        data = self.server.files[name]
        digest = hashlib.sha256(data).hexdigest()
        start = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._answer(data[start:], 206 if start else 200, head, **headers)
