"""Networks as companies have them: an authority of their own, and a proxy between everybody and everything."""
import contextlib
import socket
import ssl
import subprocess
import threading
import urllib.parse


class Authority:
    """A certificate authority in a folder, with one server's certificate for this machine."""

    def __init__(self, folder, name="Test Authority"):
        folder.mkdir(parents=True, exist_ok=True)
        self.bundle, self.key, self.certificate = folder / "ca.pem", folder / "server.key", folder / "server.pem"
        request, extensions, ca_key = folder / "server.csr", folder / "server.ext", folder / "ca.key"
        extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:hub.test,DNS:platform.test\nextendedKeyUsage=serverAuth\n")
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        run("req", "-x509", *new_key, "-keyout", ca_key, "-out", self.bundle, "-days", "30", "-subj", f"/CN={name}",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
        run("req", *new_key, "-keyout", self.key, "-out", request, "-subj", "/CN=localhost")
        run("x509", "-req", "-in", request, "-CA", self.bundle, "-CAkey", ca_key, "-CAcreateserial", "-out", self.certificate,
            "-days", "30", "-extfile", extensions)

    def context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def run(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


class Listener:
    """Hands each connection to `serve`, in a thread of its own."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self.serve_quietly, args=(connection,), daemon=True).start()

    def serve_quietly(self, connection):
        with contextlib.suppress(OSError), connection:
            self.serve(connection)

    def close(self):
        self.listener.close()


class TlsFront(Listener):
    """Speaks TLS for a server that does not."""

    def __init__(self, port, context):
        self.target, self.context = port, context
        super().__init__()
        self.url = f"https://127.0.0.1:{self.port}"

    def serve(self, connection):
        with self.context.wrap_socket(connection, server_side=True) as secured:
            with socket.create_connection(("127.0.0.1", self.target)) as server:
                join(secured, server)


class Proxy(Listener):
    """A proxy that knows some names which nobody else knows; `asked` is what it was asked for, method and target."""

    def __init__(self, names=None, secret=None):
        self.names, self.secret, self.asked = names or {}, secret, []
        super().__init__()
        self.url = f"http://127.0.0.1:{self.port}"

    def serve(self, connection):
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(1 << 16)
            if not piece:
                return
            head += piece
        head, rest = head.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, version = first.split(" ")
        self.asked.append((method, target))
        if self.secret and f"proxy-authorization: basic {self.secret}".lower() not in "\n".join(lines).lower():
            connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        host, port = self.find(method, target)
        with socket.create_connection((host, port)) as server:
            if method == "CONNECT":
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                # The server sees a path, and ends the connection after its answer.
                path = urllib.parse.urlsplit(target)._replace(scheme="", netloc="").geturl() or "/"
                kept = [line for line in lines if line.split(":")[0].lower() not in ("connection", "proxy-connection")]
                server.sendall("\r\n".join([f"{method} {path} {version}", *kept, "Connection: close", "", ""]).encode("latin-1"))
            server.sendall(rest)
            join(connection, server)

    def find(self, method, target):
        host, port = target.rsplit(":", 1) if method == "CONNECT" else split_url(target)
        return self.names.get(host, (host, int(port)))


def split_url(target):
    parts = urllib.parse.urlsplit(target)
    return parts.hostname, parts.port or 80


def join(one, other):
    """Carries bytes both ways until both sides have said everything."""
    def carry(source, target):
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                target.sendall(piece)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
    back = threading.Thread(target=carry, args=(other, one), daemon=True)
    back.start()
    carry(one, other)
    back.join()
