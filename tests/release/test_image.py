"""The steps of the image in a plain Debian, and the app in it as the agent starts it."""
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import time

import pytest

from dockerfile import ROOT, shell_steps, variables
from test_release import MANIFEST

TARGET = pathlib.Path(os.environ.get("SERVE_BINARIES", ROOT / "target" / "debug"))
SYSTEM = ROOT / "target" / "image-root"
STEPS_FILE = SYSTEM / "steps-done"
PATIENCE_S = 60
# As the agent sets them; dotted names survive bash, though no shell can write them.
TASK = {"ENV": "production", "TASK_ID": "7", "SERVER_ADDRESS": "http://127.0.0.1:9", "API_TOKEN": "a-token-of-nobody",
        "modal.state.autostart": "false", "context.teamId": "1", "HTTP_PROXY": "", "http_proxy": "",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SUPERVISELY_PUBLIC_API_RETRIES": "1"}


def mirror():
    """Where this machine's own packages come from."""
    files = [pathlib.Path("/etc/apt/sources.list"), *pathlib.Path("/etc/apt/sources.list.d").glob("*")]
    words = " ".join(file.read_text(encoding="utf-8") for file in files if file.is_file()).split()
    found = [word for word in words if word.startswith("http") and word.rstrip("/").endswith("/debian")]
    return found[0] if found else "http://deb.debian.org/debian"


@pytest.fixture(scope="module")
def system():
    """A Debian in which the image's steps were done; made once, and again when they change."""
    if os.geteuid() != 0:
        pytest.skip("a system of its own can be made by root only")
    if not shutil.which("debootstrap"):
        installed = subprocess.run("apt-get update -q && apt-get install -qy debootstrap", shell=True, capture_output=True, check=False)
        if installed.returncode != 0:
            pytest.skip("there is no debootstrap")
    steps = "\n".join(shell_steps())
    if not STEPS_FILE.exists() or STEPS_FILE.read_text(encoding="utf-8") != steps:
        shutil.rmtree(SYSTEM, ignore_errors=True)
        release = next(line for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines() if line.startswith("ARG DEBIAN="))
        subprocess.run(["debootstrap", "--variant=minbase", release.split("=")[1], SYSTEM, mirror()], check=True, capture_output=True)
        # The image has them from stages that are not built here.
        (SYSTEM / "opt/florence2/lib").mkdir(parents=True)
        for step in shell_steps():
            done = subprocess.run(["chroot", SYSTEM, "sh", "-c", step], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{step}\n{done.stdout}\n{done.stderr}"
        STEPS_FILE.write_text(steps, encoding="utf-8")
    (SYSTEM / "app/repo").mkdir(parents=True, exist_ok=True)
    shutil.copy(TARGET / "serve-florence-2", SYSTEM / "opt/florence2/serve-florence-2")
    return SYSTEM


class App:
    """The app in its system, with a network of its own: its port is open to nobody else."""

    def __init__(self, system, entrypoint):
        words = shlex.split(f'bash -c "cd /app/repo && {entrypoint}"')
        inside = shlex.join(["chroot", str(system), *words])
        self.log = open(system / "log", "w+b")
        self.process = subprocess.Popen(["unshare", "--net", "bash", "-c", f"ip link set lo up && exec {inside}"],
                                        env={**variables(), **TASK}, stdout=self.log, stderr=self.log)

    def wait_until(self, path):
        """Waits for a 200, asking from inside of its network."""
        ask = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{MANIFEST['port']}{path}', timeout=5)"
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and self.process.poll() is None:
            command = ["nsenter", "--net", f"--target={self.process.pid}", "python3", "-c", ask]
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                return
            time.sleep(0.1)
        self.log.seek(0)
        raise AssertionError(f"{path} does not answer:\n{self.log.read().decode()}")

    def environment(self):
        content = pathlib.Path(f"/proc/{self.process.pid}/environ").read_bytes()
        return dict(pair.split("=", 1) for pair in content.decode().split("\0") if pair)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE_S) == 0


def can_have_a_network():
    tools = all(shutil.which(tool) for tool in ("unshare", "nsenter", "ip"))
    return tools and subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("extra, path", [("", "/livez"), (" --model demo --device cpu", "/readyz")])
def test_the_agent_can_start_it(system, extra, path):
    if not can_have_a_network():
        pytest.skip("no network namespace can be made here")
    app = App(system, MANIFEST["entrypoint"] + extra)
    try:
        app.wait_until(path)
        assert app.environment()["modal.state.autostart"] == "false", "dotted names reach the program"
    finally:
        app.end()


@pytest.mark.parametrize("tool", ["bash", "sh", "sleep", "/usr/bin/timeout", "ffmpeg", "ffprobe"])
def test_what_the_agent_and_the_app_need_is_there(system, tool):
    found = subprocess.run(["chroot", system, "sh", "-c", f"command -v {tool}"], capture_output=True, check=False)
    assert found.returncode == 0


def test_the_agents_idle_loop_runs(system):
    loop = "/usr/bin/timeout --kill-after 30s 1s sh -c 'while true; do sleep 1; done'"
    assert subprocess.run(["chroot", system, "sh", "-c", loop], check=False).returncode == 124


def test_videos_can_be_read(system):
    video = "ffmpeg -v error -f lavfi -i testsrc=duration=1:size=64x48:rate=5 -c:v libx264 -y /root/x.mp4 && ffprobe -v error /root/x.mp4"
    done = subprocess.run(["chroot", system, "sh", "-c", video], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
