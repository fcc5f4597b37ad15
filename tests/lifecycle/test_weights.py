"""Weights on their way from the hub: killed, cut, spoilt, hurried and shared."""
import os
import pathlib

import pytest

from checkpoints import BASE, LARGE, files, padded, place, repository
from hub_stub import Fault, Hub

# More than fits into what systems keep of a connection.
EXTRA_BYTES = 24 << 20


def held(hub, after):
    return hub.fail(Fault("hold", "*.safetensors", parts=("cdn",), methods=("GET",), after=after))


def bytes_below(folder):
    return sum(path.stat().st_size for path in pathlib.Path(folder).rglob("*") if path.is_file())


def test_a_killed_download_goes_on_where_it_was(app, hub):
    """The server's own loading; what the first process wrote is not sent again."""
    published = hub.add(repository(BASE), padded(EXTRA_BYTES))
    total = published.files()["model.safetensors"].size
    hold = held(hub, total // 2)
    server = app("--model", BASE, hub=hub).start()
    assert hold.held.wait(60)
    server.wait_for(lambda: bytes_below(server.cache) > total * 0.45, "what was sent is on the disk")
    server.kill()
    hold.released.set()
    hub.forget()
    server.start().wait_until_ready()
    assert server.answers() and hub.sent("*.safetensors") <= total * 0.56
    assert any(request.range for request in hub.asked("GET", "cdn", "*.safetensors"))
    # Nothing is left that a third run would have to tidy up, and nothing is fetched a third time.
    hub.forget()
    server.kill()
    server.start().wait_until_ready()
    assert hub.sent() == 0 and bytes_below(server.cache) < 1.2 * total


def test_a_download_that_is_cut_goes_on_by_itself(app, hub):
    total = hub.add(repository(BASE), padded(EXTRA_BYTES)).files()["model.safetensors"].size
    for _ in range(3):
        hub.fail(Fault("cut", "*.safetensors", parts=("cdn",), methods=("GET",), after=total // 5))
    server = app("--model", BASE, hub=hub).start().wait_until_ready()
    assert server.answers() and hub.sent("*.safetensors") <= total * 1.05
    assert server.status()["failure"] is None


def test_a_hub_that_asks_for_patience_gets_it(app, hub):
    hub.add(repository(BASE), files())
    hub.fail(Fault("status", parts=("resolve",), methods=("GET",), status=429, retry_after="1", times=2))
    hub.fail(Fault("status", parts=("api",), methods=("GET", "POST"), status=503))
    hub.fail(Fault("drop", parts=("cdn",), methods=("GET",)))
    server = app("--model", BASE, hub=hub).start().wait_until_ready()
    assert server.answers() and hub.statuses()[429] == 2


def test_spoilt_weights_are_not_loaded(app, hub):
    hub.add(repository(LARGE), files())
    spoilt = hub.fail(Fault("corrupt", "*.safetensors", parts=("cdn",), methods=("GET",), times=None))
    server = app("--model", BASE, hub=hub)
    place(server.cache, BASE)
    server.start().wait_until_ready()
    refused = server.deploy(LARGE)
    assert refused.status_code == 409 and "SHA-256" in refused.json()["message"], refused.text
    assert server.model() == (BASE, "command") and server.answers()
    assert not (server.cache / LARGE).exists()
    spoilt.times = 0
    assert server.deploy(LARGE).status_code == 200 and server.answers()


def test_two_sessions_share_a_download(app, hub):
    """A team's cache is one folder for all of its sessions on a node."""
    total = hub.add(repository(BASE), padded(1 << 20)).files()["model.safetensors"].size
    hold = held(hub, 1000)
    one, other = app("--model", BASE, hub=hub), app("--model", BASE, hub=hub)
    one.start()
    assert hold.held.wait(60)
    other.start()
    other.wait_for(lambda: (other.status()["loading"] or {}).get("step") == "waiting", "the other one waits")
    hold.released.set()
    for server in (one, other):
        server.wait_until_ready()
        assert server.answers()
    assert hub.sent("*.safetensors") == total


def test_whoever_waits_for_a_download_takes_it_over(app, hub):
    total = hub.add(repository(BASE), padded(EXTRA_BYTES)).files()["model.safetensors"].size
    hold = held(hub, total // 2)
    one, other = app("--model", BASE, hub=hub), app("--model", BASE, hub=hub)
    one.start()
    assert hold.held.wait(60)
    one.wait_for(lambda: bytes_below(one.cache) > total * 0.45, "what was sent is on the disk")
    other.start().wait_for(lambda: (other.status()["loading"] or {}).get("step") == "waiting", "the other one waits")
    hub.forget()
    one.kill()
    hold.released.set()
    other.wait_until_ready()
    assert other.answers() and hub.sent("*.safetensors") <= total * 0.56


def test_only_what_is_loaded_is_fetched(app, hub):
    """Of both kinds of weights and all the files that only Python reads."""
    hub.add(repository(BASE), {**files(), "modeling_florence2.py": b"import this", "sample.gif": b"GIF89a"})
    app("--model", BASE, hub=hub).start().wait_until_ready()
    fetched = {request.file for request in hub.asked("GET", "cdn")}
    assert fetched == {"config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"}


def test_without_safetensors_the_other_weights_are_fetched(app, hub):
    hub.add(repository(BASE), {name: path for name, path in files().items() if name != "model.safetensors"})
    server = app("--model", BASE, hub=hub).start().wait_until_ready()
    assert server.answers() and hub.sent("pytorch_model.bin") > 0


def test_an_update_is_asked_for(app, hub):
    """The page's checkbox: the hub is asked again, and only what is new is sent."""
    published = hub.add(repository(BASE), files())
    server = app("--model", BASE, hub=hub).start().wait_until_ready()
    hub.forget()
    assert server.serve(BASE).status_code == 202
    server.wait_until_served(BASE, "page")
    assert not hub.requests
    # In front of the JSON, where it means nothing.
    published.replace("config.json", b" " + published.files()["config.json"].source.read_bytes())
    assert server.serve(BASE, update=True).status_code == 202
    server.wait_for(lambda: not server.status()["loading"] and hub.sent("config.json"), "the new file is there")
    assert server.answers() and hub.sent("*.safetensors") == 0
    # A hub that is gone is no reason to be without the model.
    hub.repositories.clear()
    assert server.serve(BASE, update=True).status_code == 202
    server.wait_for(lambda: hub.statuses()[404] and not server.status()["loading"], "the hub was asked in vain")
    assert server.answers()


def test_a_private_hub_sees_the_token_and_nobody_else_does(app):
    with Hub({repository(BASE): files()}, token="hf_verysecret") as hub:
        stranger = app("--model", BASE, hub=hub).start()
        assert "HF_TOKEN" in stranger.wait_until_failed()["message"]
        stranger.kill()
        hub.forget()
        server = app("--model", BASE, hub=hub, HF_TOKEN="hf_verysecret").start().wait_until_ready()
        # The other host gets the bytes out without it.
        elsewhere = [request for request in hub.asked("GET", "cdn") if request.path.startswith("/cdn/")]
        assert elsewhere and not any(request.authorization for request in elsewhere)
        assert not any("verysecret" in line for line in server.lines)


def test_a_hub_that_speaks_another_protocol_as_well(app):
    """The real one offers its large files in two ways and says so in its headers; plain HTTP is asked for."""
    with Hub({repository(BASE): files()}, xet=True) as hub:
        assert app("--model", BASE, hub=hub).start().wait_until_ready().answers()


@pytest.mark.parametrize("kind", ["image", "hub cache"])
def test_where_weights_are_looked_for(app, hub, kind):
    """What an image or the hub's own tools brought is used where it lies, and what was downloaded goes before it."""
    server = app("--model", BASE, hub=hub)
    home = pathlib.Path(server.environment["HOME"])
    if kind == "image":
        place(home / ".cache" / "supervisely" / "checkpoints", BASE)
    else:
        folder = pathlib.Path(server.environment["HF_HOME"]) / "hub" / f"models--microsoft--{BASE}"
        place(folder / "snapshots", "0123456789abcdef0123456789abcdef01234567")
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("0123456789abcdef0123456789abcdef01234567")
    server.start().wait_until_ready()
    assert server.answers() and not hub.requests and not os.listdir(server.cache)
    listed = {model["name"]: model["location"] for model in server.get("/api/models").json()["models"]}
    assert listed[BASE] == ("image" if kind == "image" else "disk") and listed[LARGE] == "hub" and listed["demo"] == "program"
