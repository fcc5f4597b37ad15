"""Private authorities and proxies: what is set for the platform's apps is used, and what is empty is not set."""
import os
import shutil
import subprocess
import types

import pytest

from app import readable
from checkpoints import BASE, LARGE, files, place, repository
from hub_stub import Hub
from networks import Authority, Proxy, TlsFront
from settings import ROOT, binary

IMAGE = 1001
# Where Linux keeps what the system trusts.
SYSTEM_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("stranger"), "Somebody Else")


@pytest.fixture
def secure_hub(authority):
    with Hub({repository(BASE): files()}, tls=authority.context()) as hub:
        yield hub


@pytest.fixture
def secure_platform(platform, authority):
    """The stub behind TLS."""
    front = TlsFront(platform.port, authority.context())
    yield types.SimpleNamespace(url=front.url, token=platform.token, stub=platform)
    front.close()


@pytest.fixture
def proxies():
    made = []

    def make(**further):
        made.append(Proxy(**further))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


# --- a private authority


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SLY_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"])
def test_the_hub_is_trusted_by_a_private_authority(app, secure_hub, authority, name):
    server = app("--model", BASE, hub=secure_hub, **{name: str(authority.bundle)})
    assert server.start().wait_until_ready().answers()


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SLY_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"])
def test_the_platform_is_trusted_by_a_private_authority(app, secure_platform, authority, name):
    server = app("--model", "demo", platform=secure_platform, **{name: str(authority.bundle)}).start().wait_until_ready()
    answer = server.post("/inference_image_id", {"state": {"image_id": IMAGE, "settings": {"task_prompt": "<OD>"}}})
    assert answer.status_code == 200 and answer.json()["annotation"]["objects"], answer.text
    server.wait_for(lambda: secure_platform.stub.recorded(), "the deployment is recorded there")


def test_authorities_add_up(app, secure_hub, authority, stranger):
    """As the platform's agent sets them: a system's bundle that does not know the instance, and the instance's own beside it."""
    server = app("--model", BASE, hub=secure_hub, SSL_CERT_FILE=str(stranger.bundle), SLY_EXTRA_CA_CERTS=str(authority.bundle))
    assert server.start().wait_until_ready().answers()


def test_a_bundle_of_many(app, secure_hub, authority, stranger, tmp_path):
    bundle = tmp_path / "bundle.pem"
    system = open(SYSTEM_BUNDLE, encoding="utf-8").read() if os.path.exists(SYSTEM_BUNDLE) else ""
    bundle.write_text("# of the instance\n" + system + stranger.bundle.read_text() + "\n" + authority.bundle.read_text())
    server = app("--model", BASE, hub=secure_hub, SLY_EXTRA_CA_CERTS=str(bundle), REQUESTS_CA_BUNDLE=str(bundle))
    assert server.start().wait_until_ready().answers()


@pytest.mark.parametrize("variables", [{}, {"SLY_EXTRA_CA_CERTS": ""}, {"SLY_EXTRA_CA_CERTS": "/nowhere/ca.pem"}, "stranger",
                                       "rubbish"], ids=str)
def test_who_is_not_trusted_gets_nothing(app, secure_hub, stranger, variables, tmp_path):
    if variables == "stranger":
        variables = {"SSL_CERT_FILE": str(stranger.bundle), "SLY_EXTRA_CA_CERTS": str(stranger.bundle)}
    if variables == "rubbish":
        (tmp_path / "rubbish.pem").write_text("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")
        variables = {"SLY_EXTRA_CA_CERTS": str(tmp_path / "rubbish.pem"), "REQUESTS_CA_BUNDLE": str(tmp_path / "rubbish.pem")}
    server = app("--model", BASE, hub=secure_hub, **variables).start()
    message = readable(server.wait_until_failed()["message"])
    assert "certificate" in message.lower() or "issuer" in message.lower(), message
    assert not secure_hub.requests and server.get("/livez").status_code == 200


def test_the_commands_trust_the_same(app, secure_hub, authority):
    environment = app(hub=secure_hub, SLY_EXTRA_CA_CERTS=str(authority.bundle)).environment
    done = subprocess.run([binary(), "download", BASE], env=environment, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert secure_hub.sent("*.safetensors") > 0


# --- proxies

PLAIN = [("HTTP_PROXY",), ("http_proxy",), ("ALL_PROXY",)]
SECURE = [("HTTPS_PROXY",), ("https_proxy",), ("ALL_PROXY",), ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy")]


@pytest.mark.parametrize("names", PLAIN, ids=" ".join)
def test_the_hub_is_asked_through_a_proxy(app, hub, proxies, names):
    """The name is one that the proxy alone knows."""
    hub.add(repository(BASE), files())
    proxy = proxies(names={"hub.test": ("127.0.0.1", hub.port)})
    server = app("--model", BASE, hub=hub, **{name: proxy.url for name in names})
    server.environment["HF_ENDPOINT"] = "http://hub.test"
    assert server.start().wait_until_ready().answers()
    assert any(target.startswith("http://hub.test/") for _, target in proxy.asked)


@pytest.mark.parametrize("names", SECURE, ids=" ".join)
def test_tls_goes_through_a_tunnel(app, secure_hub, authority, proxies, names):
    proxy = proxies(names={"hub.test": ("127.0.0.1", secure_hub.port)})
    server = app("--model", BASE, hub=secure_hub, SLY_EXTRA_CA_CERTS=str(authority.bundle), **{name: proxy.url for name in names})
    server.environment["HF_ENDPOINT"] = "https://hub.test"
    assert server.start().wait_until_ready().answers()
    assert ("CONNECT", "hub.test:443") in proxy.asked


def test_the_platform_is_asked_through_a_proxy(app, platform, proxies):
    proxy = proxies(names={"platform.test": ("127.0.0.1", platform.port)})
    behind = types.SimpleNamespace(url="http://platform.test", token=platform.token)
    server = app("--model", "demo", platform=behind, HTTP_PROXY=proxy.url, HTTPS_PROXY="").start().wait_until_ready()
    answer = server.post("/inference_image_id", {"state": {"image_id": IMAGE, "settings": {"task_prompt": "<OD>"}}})
    assert answer.status_code == 200, answer.text
    assert any(target.startswith("http://platform.test/public/api/") for _, target in proxy.asked)


def test_a_proxy_may_want_a_password(app, hub, proxies):
    hub.add(repository(BASE), files())
    proxy = proxies(names={"hub.test": ("127.0.0.1", hub.port)}, secret="bWU6aGlkZGVu")
    address = proxy.url.replace("http://", "http://me:hidden@")
    server = app("--model", BASE, hub=hub, HTTP_PROXY=address)
    server.environment["HF_ENDPOINT"] = "http://hub.test"
    assert server.start().wait_until_ready().answers()
    assert not any("hidden" in line for line in server.lines)


EMPTY = {"proxies": [name for pair in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY") for name in (pair, pair.lower())],
         "authorities": ["SLY_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"], "system": ["SSL_CERT_FILE", "SSL_CERT_DIR"],
         "hub": ["HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE"]}


@pytest.mark.parametrize("names", EMPTY.values(), ids=EMPTY)
def test_empty_variables_are_none(app, hub, platform, names):
    """As the platform's agent sets them where there is nothing to set."""
    hub.add(repository(BASE), files())
    server = app("--model", BASE, hub=hub, platform=platform, **{name: "" for name in names}).start().wait_until_ready()
    assert server.answers()
    server.wait_for(lambda: platform.recorded(), "the deployment is recorded")


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize("value", ["127.0.0.1,localhost", "example.com, 127.0.0.0/8, localhost", "*"])
def test_some_are_asked_without_the_proxy(app, hub, platform, proxies, name, value):
    hub.add(repository(BASE), files())
    proxy, host = proxies(), "localhost" if value == "*" else "127.0.0.1"
    here = types.SimpleNamespace(url=platform.url.replace("127.0.0.1", host), token=platform.token)
    server = app("--model", BASE, hub=hub, platform=here, HTTP_PROXY=proxy.url, HTTPS_PROXY=proxy.url, **{name: value})
    server.environment["HF_ENDPOINT"] = hub.endpoint.replace("127.0.0.1", host)
    server.start().wait_until_ready()
    assert server.answers()
    server.wait_for(lambda: platform.recorded(), "the deployment is recorded")
    assert not proxy.asked


def test_a_proxy_that_is_gone_is_said_and_delays_nothing(app, platform):
    server = app(hub=None, platform=platform, HTTP_PROXY="http://127.0.0.1:9", HTTPS_PROXY="http://127.0.0.1:9", AUTOSTART="true")
    place(server.cache, LARGE)
    server.start().wait_until_served(LARGE, "autostart")
    assert server.answers()
    refused = server.deploy(BASE)
    assert refused.status_code == 409 and BASE in readable(refused.json()["message"])


@pytest.mark.parametrize("value", ["nonsense", "http://", "::::"])
def test_a_proxy_that_is_none_ends_nothing(app, value):
    server = app(HTTP_PROXY=value, HTTPS_PROXY=value, AUTOSTART="true")
    place(server.cache, LARGE)
    server.start().wait_until_served(LARGE, "autostart")
    assert server.answers()
    assert server.deploy(BASE).status_code == 409
