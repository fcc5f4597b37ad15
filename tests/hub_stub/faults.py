"""How a hub misbehaves, on purpose."""
import dataclasses
import fnmatch
import threading


@dataclasses.dataclass
class Fault:
    """What goes wrong, and with which requests.

    kind: status (this answer instead of the file's), cut (the connection ends after `after` bytes of the body), corrupt (a byte
    of the body is another one), drop (no answer at all), hang (no answer until the hub ends), whole (the range asked for is
    ignored), hold (the body stands still after `after` bytes until `released` is set, and `held` says that it does).
    """
    kind: str
    # Which files, which of the hub's parts (api, resolve, cdn), which methods, and how often; None is always.
    files: str = "*"
    parts: tuple = ("resolve", "cdn")
    methods: tuple = ("GET", "HEAD")
    times: int = 1
    status: int = 503
    retry_after: str = ""
    after: int = 0
    held: threading.Event = dataclasses.field(default_factory=threading.Event)
    released: threading.Event = dataclasses.field(default_factory=threading.Event)
    # How often it happened.
    count: int = 0

    def takes(self, part, method, file):
        """Whether this request is one of them; counts it if so."""
        if self.times is not None and self.count >= self.times:
            return False
        if part not in self.parts or method not in self.methods or not fnmatch.fnmatch(file, self.files):
            return False
        self.count += 1
        return True


# Faults that concern the body of an answer; only where the bytes come from they make sense.
OF_BODIES = ("cut", "corrupt", "hold", "whole")
