"""The server: what the hub's clients ask for, with the real hub's status codes, headers and redirects.

`GET /api/models/NAME[/revision/REV]`, `GET /api/models/NAME/tree/REV`, `POST /api/models/NAME/paths-info/REV` and
`GET|HEAD /NAME/resolve/REV/FILE`. Small files are redirected to a path of the same host, large ones to another host (the same
server under its other name), as the real one does. Every byte of a body that is sent is counted.
"""
import collections
import dataclasses
import fnmatch
import http.server
import json
import re
import ssl
import threading
import time
import urllib.parse

from .content import Repository, etag, is_large, sibling, tree_entry, xet_hash
from .faults import OF_BODIES

API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?$")
RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)$")
CACHE = re.compile(r"/api/resolve-cache/models/([^/]+/[^/]+)/([^/]+)/(.+)$")
CDN = re.compile(r"/cdn/([^/]+/[^/]+)/([^/]+)/(.+)$")
HANG_S = 600


@dataclasses.dataclass
class Request:
    """A request that came: `part` is api, resolve or cdn, `sent` how many bytes of the body left."""
    method: str
    path: str
    part: str
    file: str
    range: str
    authorization: str
    host: str
    user_agent: str
    status: int = 0
    sent: int = 0


class Hub:
    """A hub that runs until `stop`. `tls` is a server's context; `token`, if given, is what clients have to show; `xet` says that
    large files could be had in that protocol too, as the real hub does, although it is not spoken here."""

    def __init__(self, repositories=None, port=0, tls=None, token=None, xet=False):
        self.repositories = {name: Repository(name, content) for name, content in (repositories or {}).items()}
        self.token, self.tls, self.xet = token, tls, xet
        # Bytes a second of each body; None is as fast as it goes.
        self.rate = None
        self.faults, self.requests = [], []
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.server = Server(("127.0.0.1", port), Handler)
        self.server.hub = self
        self.port = self.server.server_address[1]
        scheme = "https" if tls else "http"
        self.endpoint = f"{scheme}://127.0.0.1:{self.port}"
        self.cdn = f"{scheme}://localhost:{self.port}/cdn"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopping.set()
        for fault in self.faults:
            fault.released.set()
        self.server.shutdown()
        self.server.server_close()

    def add(self, name, content):
        """A repository of this name with the files of a folder, or of a dictionary."""
        self.repositories[name] = Repository(name, content)
        return self.repositories[name]

    def fail(self, fault):
        """From now on this goes wrong. Returns the fault."""
        with self.lock:
            self.faults.append(fault)
        return fault

    def sent(self, files="*"):
        """Bytes of these files that were sent."""
        with self.lock:
            return sum(request.sent for request in self.requests if fnmatch.fnmatch(request.file, files))

    def asked(self, method="*", part="*", files="*"):
        """The requests of this kind."""
        with self.lock:
            return [request for request in self.requests if fnmatch.fnmatch(request.method, method)
                    and fnmatch.fnmatch(request.part, part) and fnmatch.fnmatch(request.file, files)]

    def forget(self):
        """Counts from here."""
        with self.lock:
            self.requests.clear()

    def statuses(self):
        with self.lock:
            return collections.Counter(request.status for request in self.requests)

    def fault(self, part, method, file):
        with self.lock:
            return next((fault for fault in self.faults if fault.takes(part, method, file)), None)

    def find(self, name):
        """The repository of this name in any case."""
        return next((one for known, one in self.repositories.items() if known.lower() == name.lower()), None)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        # Clients that go away are what this is for.
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        hub = self.server.hub
        if hub.tls:
            # In this connection's own thread, so that a client that says nothing keeps nobody else waiting.
            self.request.settimeout(20)
            self.request = hub.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def answer(self):
        url = urllib.parse.urlsplit(self.path)
        path, query = urllib.parse.unquote(url.path), urllib.parse.parse_qs(url.query)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        for part, pattern, work in (("resolve", RESOLVE, self.resolve), ("cdn", CACHE, self.send_file),
                                    ("cdn", CDN, self.send_file), ("api", API, self.api)):
            match = pattern.match(path)
            if not match:
                continue
            file = "" if part == "api" else match.group(3)
            self.note(part, file)
            self.trouble = self.server.hub.fault(part, self.command, file)
            if self.trouble and self.trouble.kind not in OF_BODIES:
                return self.misbehave(self.trouble)
            if not self.is_authorised(path):
                return self.refuse(401, "GatedRepo", "Access to model is restricted.")
            return work(*match.groups(), query, body) if part == "api" else work(*match.groups())
        self.note("other", "")
        return self.refuse(404, "", "Not Found")

    def note(self, part, file):
        headers = self.headers
        self.record = Request(self.command, self.path, part, file, headers.get("Range", ""), headers.get("Authorization", ""),
                              headers.get("Host", ""), headers.get("User-Agent", ""))
        with self.server.hub.lock:
            self.server.hub.requests.append(self.record)

    def is_authorised(self, path):
        token = self.server.hub.token
        # Addresses of the other host carry their own right.
        return token is None or path.startswith("/cdn/") or self.headers.get("Authorization") == f"Bearer {token}"

    def misbehave(self, fault):
        if fault.kind == "hang":
            self.server.hub.stopping.wait(HANG_S)
        if fault.kind in ("hang", "drop"):
            self.close_connection = True
            return
        headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
        self.refuse(fault.status, "", "injected fault", headers)

    # --- what is asked

    def api(self, name, kind, revision, folder, query, body):
        repository = self.server.hub.find(name)
        if repository is None:
            return self.refuse(404, "RepoNotFound", "Repository not found")
        if repository.name != name:
            return self.redirect(307, self.path.replace(name, repository.name, 1))
        files = repository.files(revision or "main")
        if files is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        commit = repository.commit(revision or "main")
        if kind == "tree":
            inside = {path: file for path, file in files.items() if not folder or path.startswith(folder + "/")}
            return self.send_json([tree_entry(path, file, self.server.hub.xet) for path, file in inside.items()])
        if kind == "paths-info":
            wanted = json.loads(body or b"{}").get("paths", [])
            return self.send_json([tree_entry(path, files[path], self.server.hub.xet) for path in wanted if path in files])
        with_blobs = query.get("blobs", [""])[0].lower() in ("1", "true")
        return self.send_json({
            "_id": "0" * 24, "id": name, "modelId": name, "author": name.split("/")[0], "sha": commit, "private": False,
            "gated": False, "disabled": False, "lastModified": "2026-01-15T10:00:00.000Z", "tags": ["florence2"], "downloads": 1,
            "siblings": [sibling(path, file, with_blobs) for path, file in files.items()],
        })

    def resolve(self, name, revision, path):
        repository = self.server.hub.find(name)
        if repository is None:
            return self.refuse(404, "RepoNotFound", "Repository not found")
        if repository.name != name:
            return self.redirect(307, f"/{repository.name}/resolve/{revision}/{path}")
        files = repository.files(revision)
        if files is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        commit = {"X-Repo-Commit": repository.commit(revision)}
        if path not in files:
            return self.refuse(404, "EntryNotFound", "Entry not found", commit)
        file, place = files[path], f"{repository.name}/{commit['X-Repo-Commit']}/{urllib.parse.quote(path)}"
        linked = {**commit, "X-Linked-Etag": f'"{etag(path, file)}"', "X-Linked-Size": str(file.size), "Accept-Ranges": "bytes"}
        if not is_large(path):
            return self.redirect(307, f"/api/resolve-cache/models/{place}?etag=%22{file.blob}%22", linked)
        if self.server.hub.xet:
            linked["X-Xet-Hash"] = xet_hash(file)
        return self.redirect(302, f"{self.server.hub.cdn}/{place}?Signature=loopback", linked)

    def send_file(self, name, commit, path):
        repository = self.server.hub.find(name)
        file = ((repository.files(commit) if repository else None) or {}).get(path)
        if file is None:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        headers = {"ETag": f'"{etag(path, file)}"', "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if not is_large(path):
            headers["X-Repo-Commit"] = commit
        trouble = self.trouble
        span = None if trouble and trouble.kind == "whole" else read_range(self.headers.get("Range"), file.size)
        start, end = span or (0, file.size)
        if start >= end and file.size:
            return self.refuse(416, "", "Range Not Satisfiable", {"Content-Range": f"bytes */{file.size}"})
        if span:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        self.begin(206 if span else 200, {**headers, "Content-Length": str(end - start)})
        if self.command != "HEAD":
            self.send_body(file.pieces(start, end), trouble)

    def send_body(self, pieces, trouble):
        hub, done = self.server.hub, 0
        for piece in pieces:
            if trouble and trouble.kind == "corrupt" and done == 0:
                piece = bytes([piece[0] ^ 0xFF]) + piece[1:]
            if trouble and trouble.kind in ("cut", "hold") and done + len(piece) >= trouble.after:
                first = max(trouble.after - done, 0)
                self.write(piece[:first])
                if trouble.kind == "cut":
                    self.close_connection = True
                    self.connection.shutdown(2)
                    return
                trouble.held.set()
                trouble.released.wait(HANG_S)
                done, piece, trouble = trouble.after, piece[first:], None
            self.write(piece)
            done += len(piece)
            if hub.rate and not hub.stopping.is_set():
                time.sleep(len(piece) / hub.rate)

    # --- how it is said

    def write(self, content):
        # Counted first: whoever has the bytes finds them counted.
        with self.server.hub.lock:
            self.record.sent += len(content)
        self.wfile.write(content)

    def begin(self, status, headers):
        self.record.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send_json(self, value):
        content = json.dumps(value).encode()
        self.begin(200, {"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(content))})
        if self.command != "HEAD":
            self.wfile.write(content)

    def redirect(self, status, place, headers=None):
        content = f"Temporary Redirect. Redirecting to {place}".encode()
        self.begin(status, {**(headers or {}), "Location": place, "Content-Length": str(len(content))})
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, status, code, message, headers=None):
        content = json.dumps({"error": message}).encode()
        said = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
        self.begin(status, {**said, **(headers or {}), "Content-Type": "application/json", "Content-Length": str(len(content))})
        if self.command != "HEAD":
            self.wfile.write(content)


def read_range(text, size):
    """The first byte and the one behind the last of `bytes=A-B`, `bytes=A-` or `bytes=-N`; None without a range."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", text or "")
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(size - int(last), 0), size
    return int(first), min(int(last) + 1, size) if last else size


def server_context(certificate, key):
    """For `tls`: a server's context from two PEM files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
