"""What a hub holds: repositories, the files of each of their states, and how the hub names both."""
import hashlib
import pathlib

# What the real hub keeps outside git. Small files of other kinds are in git itself.
LARGE_SUFFIXES = (".safetensors", ".bin")
POINTER_BYTES = 134


class File:
    """One version of a file; `source` is its content, or the path of a file that holds it."""

    def __init__(self, source):
        self.source = source
        self.size = len(source) if isinstance(source, bytes) else source.stat().st_size
        sha256, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % self.size)
        for piece in self.pieces(0, self.size):
            sha256.update(piece)
            blob.update(piece)
        self.sha256, self.blob = sha256.hexdigest(), blob.hexdigest()

    def pieces(self, start, end, length=1 << 16):
        """The bytes from `start` up to `end`, a piece at a time."""
        if isinstance(self.source, bytes):
            for at in range(start, end, length):
                yield self.source[at:min(at + length, end)]
            return
        with open(self.source, "rb") as stream:
            stream.seek(start)
            while start < end:
                piece = stream.read(min(length, end - start))
                if not piece:
                    return
                start += len(piece)
                yield piece


class Repository:
    """A repository with all its states; the last one is `main`."""

    def __init__(self, name, content):
        self.name, self.states = name, {}
        self.publish(content)

    def publish(self, content):
        """A new state: the files of a folder, or a dictionary from name to content or path. Returns its commit."""
        if not isinstance(content, dict):
            folder = pathlib.Path(content)
            content = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
        known = self.files() if self.states else {}
        files = {}
        for name, source in sorted(content.items()):
            same = name in known and known[name].source == source and isinstance(source, bytes)
            files[name] = known[name] if same else File(source)
        text = "".join(f"{name} {file.blob}\n" for name, file in files.items()) + str(len(self.states))
        self.main = hashlib.sha1(text.encode()).hexdigest()
        self.states[self.main] = files
        return self.main

    def replace(self, name, source):
        """A new state with one file changed, added or, if `source` is None, left out."""
        content = {known: file.source for known, file in self.files().items()}
        content[name] = source
        return self.publish({known: source for known, source in content.items() if source is not None})

    def files(self, revision="main"):
        """The files of a state, None if there is no such state."""
        return self.states.get(self.main if revision == "main" else revision)

    def commit(self, revision):
        return self.main if revision == "main" else revision


def is_large(name):
    return name.endswith(LARGE_SUFFIXES)


def etag(name, file):
    """The hub's name for a content: its SHA-256 where it is kept outside git."""
    return file.sha256 if is_large(name) else file.blob


def xet_hash(file):
    """A name for the content in the hub's other protocol; nothing is kept under it."""
    return hashlib.sha256(file.sha256.encode()).hexdigest()


def tree_entry(name, file, xet):
    entry = {"type": "file", "oid": file.blob, "size": file.size, "path": name}
    if is_large(name):
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": POINTER_BYTES}
        if xet:
            entry["xetHash"] = xet_hash(file)
    return entry


def sibling(name, file, with_blobs):
    entry = {"rfilename": name}
    if with_blobs:
        entry.update(size=file.size, blobId=file.blob)
        if is_large(name):
            entry["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": POINTER_BYTES}
    return entry
