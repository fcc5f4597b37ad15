"""The stand-in for the hub does what it says; the tests that use it could not tell."""
import http.client
import json
import pathlib
import sys
import urllib.error
import urllib.request

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from hub_stub import Fault, Hub  # noqa: E402

NAME = "microsoft/Florence-2-base"
WEIGHTS = bytes(range(256)) * 1024


@pytest.fixture
def hub():
    with Hub({NAME: {"config.json": b"{}", "model.safetensors": WEIGHTS}}) as hub:
        yield hub


def get(hub, path, headers=None, method="GET"):
    request = urllib.request.Request(hub.endpoint + path, headers=headers or {}, method=method)
    return urllib.request.urlopen(request, timeout=10)


def head(hub, path):
    """Without following redirects."""
    connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=10)
    connection.request("HEAD", path)
    answer = connection.getresponse()
    connection.close()
    return answer


def test_files_come_by_way_of_redirects(hub):
    path = f"/{NAME}/resolve/main/model.safetensors"
    first = head(hub, path)
    repository = hub.repositories[NAME]
    assert first.status == 302 and first.headers["Location"].startswith(f"http://localhost:{hub.port}/cdn/")
    assert first.headers["X-Linked-Etag"].strip('"') == repository.files()["model.safetensors"].sha256
    assert (first.headers["X-Linked-Size"], first.headers["X-Repo-Commit"]) == (str(len(WEIGHTS)), repository.main)
    assert get(hub, path).read() == WEIGHTS
    small = head(hub, f"/{NAME}/resolve/main/config.json")
    assert small.status == 307 and small.headers["Location"].startswith("/api/resolve-cache/")
    assert get(hub, f"/{NAME}/resolve/{repository.main}/config.json").read() == b"{}"
    assert hub.sent() == len(WEIGHTS) + 2 and hub.sent("*.safetensors") == len(WEIGHTS)


def test_ranges(hub):
    path = f"/{NAME}/resolve/main/model.safetensors"
    for asked, span in [("bytes=1000-1999", (1000, 2000)), ("bytes=262000-", (262000, len(WEIGHTS))), ("bytes=-10", (-10, None))]:
        with get(hub, path, {"Range": asked}) as answer:
            assert answer.status == 206 and answer.read() == WEIGHTS[slice(*span)], asked
    with pytest.raises(urllib.error.HTTPError, match="416"):
        get(hub, path, {"Range": f"bytes={len(WEIGHTS)}-"})


def test_what_the_api_tells(hub):
    repository = hub.repositories[NAME]
    info = json.load(get(hub, f"/api/models/{NAME}/revision/main?blobs=true"))
    assert info["sha"] == repository.main
    weights = {one["rfilename"]: one for one in info["siblings"]}["model.safetensors"]
    assert weights["lfs"]["sha256"] == repository.files()["model.safetensors"].sha256
    tree = json.load(get(hub, f"/api/models/{NAME}/tree/main?recursive=true"))
    assert {one["path"]: one["size"] for one in tree} == {"config.json": 2, "model.safetensors": len(WEIGHTS)}
    assert json.load(get(hub, f"/api/models/{NAME.lower()}"))["id"] == NAME
    first = repository.main
    repository.replace("config.json", b"[]")
    assert repository.main != first and get(hub, f"/{NAME}/resolve/{first}/config.json").read() == b"{}"
    for path, code in [("/api/models/a/b", "RepoNotFound"), (f"/{NAME}/resolve/v9/config.json", "RevisionNotFound"),
                       (f"/{NAME}/resolve/main/absent.json", "EntryNotFound")]:
        with pytest.raises(urllib.error.HTTPError) as error:
            get(hub, path)
        assert (error.value.code, error.value.headers["X-Error-Code"]) == (404, code)


def test_faults_happen_as_often_as_said(hub):
    path = f"/{NAME}/resolve/main/model.safetensors"
    hub.fail(Fault("status", parts=("resolve",), status=429, retry_after="1"))
    with pytest.raises(urllib.error.HTTPError) as error:
        get(hub, path)
    assert (error.value.code, error.value.headers["Retry-After"]) == (429, "1")
    hub.fail(Fault("cut", "*.safetensors", parts=("cdn",), after=1000))
    with pytest.raises(http.client.IncompleteRead) as cut:
        get(hub, path).read()
    assert cut.value.partial == WEIGHTS[:1000]
    hub.fail(Fault("corrupt", "*.safetensors", parts=("cdn",)))
    assert get(hub, path).read() != WEIGHTS
    hub.fail(Fault("whole", "*.safetensors", parts=("cdn",)))
    assert get(hub, path, {"Range": "bytes=5-9"}).read() == WEIGHTS
    assert get(hub, path).read() == WEIGHTS


def test_a_transfer_can_be_held(hub):
    hold = hub.fail(Fault("hold", "*.safetensors", parts=("cdn",), after=100_000))
    answer = get(hub, f"/{NAME}/resolve/main/model.safetensors")
    first = answer.read(100_000)
    assert hold.held.wait(10) and hub.sent() == 100_000
    hold.released.set()
    assert first + answer.read() == WEIGHTS


def test_a_token_is_for_the_hub_alone():
    with Hub({NAME: {"config.json": b"{}", "model.safetensors": WEIGHTS}}, token="secret") as hub:
        for path in (f"/api/models/{NAME}", f"/{NAME}/resolve/main/config.json"):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                get(hub, path)
        connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=10)
        connection.request("HEAD", f"/{NAME}/resolve/main/model.safetensors", headers={"Authorization": "Bearer secret"})
        place = connection.getresponse().headers["Location"]
        assert urllib.request.urlopen(place, timeout=10).read() == WEIGHTS
