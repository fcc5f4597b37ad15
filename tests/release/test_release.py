"""The manifest, the Dockerfile and the workflows by the platform's rules for them."""
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import jsonschema
import pytest
import yaml

from dockerfile import ROOT, instructions, last_stage, variables

MANIFEST = json.loads((ROOT / "config.json").read_text(encoding="utf-8"))
# The platform's instances, and the SDK that each came with.
SDK_OF_INSTANCE = [("6.12.12", "6.73.241"), ("6.14.4", "6.73.410"), ("6.15.35", "6.73.483"), ("6.15.40", "6.73.493"),
                   ("6.16.19", "6.73.577"), ("6.17.0", "6.74.0"), ("6.18.3", "6.74.45")]


def version(text):
    return tuple(int(part) for part in text.split("."))


def crate_version():
    return re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(encoding="utf-8"), re.MULTILINE)[1]


def test_the_manifest_fits_its_schema():
    schema = json.loads((pathlib.Path(__file__).parent / "manifest.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(MANIFEST, schema)


def test_the_entrypoint_is_one_that_the_agent_can_execute():
    command = f'cd /app/repo && {MANIFEST["entrypoint"]}'
    assert shlex.split(f'bash -c "{command}"') == ["bash", "-c", command], "a quote breaks it apart"
    program = MANIFEST["entrypoint"].removeprefix("exec ").split()[0]
    assert program.startswith("/opt/"), "the agent hides what lies below /app, and sometimes /tmp"
    assert "--host 0.0.0.0" in MANIFEST["entrypoint"] and f'--port {MANIFEST["port"]}' in MANIFEST["entrypoint"]
    copied = [one.text.split()[-1] for one in last_stage() if one.word == "COPY"]
    assert program in copied, "the image has the program there"


def test_clients_find_the_app():
    assert {"serve", "images", "framework:Florence-2"} <= set(MANIFEST["categories"])
    assert {"deployed_nn", "deployed_florence_2"} <= set(MANIFEST["session_tags"])
    assert MANIFEST["modal_template_state"]["autostart"] is True
    assert "headless" not in MANIFEST, "there is a page"


def test_files_of_the_manifest_are_there_and_readable():
    assert {"models", "inference_settings"} <= set(MANIFEST["files"])
    models = json.loads((ROOT / MANIFEST["files"]["models"]).read_text(encoding="utf-8"))
    assert [row["meta"]["model_name"] for row in models][:2] == ["Florence-2-base", "Florence-2-large"]
    settings = yaml.safe_load((ROOT / MANIFEST["files"]["inference_settings"]).read_text(encoding="utf-8"))
    assert {"task_prompt", "text", "mapping"} <= set(settings)


def test_nothing_that_the_platform_would_install():
    assert not (ROOT / "requirements.txt").exists()


def test_versions_agree():
    image = MANIFEST["docker_image"]
    assert image.count(":") == 1 and image.split(":")[1] == crate_version()
    label = next(one.text for one in last_stage() if one.word == "LABEL" and one.text.startswith("python_sdk_version="))
    sdk = version(label.split("=", 1)[1])
    wanted = MANIFEST["instance_version"]
    index = [instance for instance, _ in SDK_OF_INSTANCE].index(wanted)
    assert version(SDK_OF_INSTANCE[index][1]) <= sdk <= version(SDK_OF_INSTANCE[index + 1][1])
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^LABEL python_sdk_version=", dockerfile, re.MULTILINE), "the build looks for it so"


def test_the_dockerfile_is_clean():
    hadolint = pathlib.Path(sys.executable).parent / "hadolint"
    result = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_image_can_be_run_by_the_agent():
    env = variables()
    assert env["NVIDIA_VISIBLE_DEVICES"] == "all" and set(env["NVIDIA_DRIVER_CAPABILITIES"].split(",")) >= {"compute", "utility"}
    every = last_stage()
    assert not any(one.word in ("USER", "ENTRYPOINT", "WORKDIR") for one in every), "its folders are root's"
    targets = [one.text.split()[-1] for one in every if one.word in ("COPY", "ADD")]
    assert not any(target.startswith(("/app", "/tmp")) for target in targets), "hidden when it runs"
    assert targets[-1].endswith("/serve-florence-2"), "what changes most comes last"
    packages = next(one.text for one in every if one.word == "RUN" and "apt-get install" in one.text).split()
    assert {"bash", "coreutils", "ca-certificates", "ffmpeg"} <= set(packages)


def test_program_and_system_are_of_one_age():
    bases = [one.text for one in instructions() if one.word == "FROM"]
    assert all("${DEBIAN}" in base for base in bases), "a newer C library than that of the image would be asked for"


def test_the_builder_gets_what_it_needs(tmp_path):
    """The files that are copied, and no others: cargo finds everything that the manifest names."""
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")]
    for one in instructions():
        if one.stage == 0 and one.word == "COPY":
            *sources, target = one.text.split()
            for source in sources:
                assert any(source == name or source.startswith(name + "/") for name in allowed), source
                destination = tmp_path / target / source if target.endswith("/") else tmp_path / target
                copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                destination.parent.mkdir(parents=True, exist_ok=True)
                copy(ROOT / source, destination)
    subprocess.run(["cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"],
                   cwd=tmp_path, check=True, capture_output=True)
    assert not (tmp_path / ".git").exists()


@pytest.mark.parametrize("name", ["release", "release_branch", "publish", "build_image", "dev_branch_build", "ci"])
def test_workflows_are_whole(name):
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    # YAML takes the key `on` for a truth value.
    assert workflow.keys() >= {"name", True, "jobs"}
    for job in workflow["jobs"].values():
        if "uses" not in job:
            continue
        assert job["uses"].startswith("supervisely-ecosystem/workflows/.github/workflows/")
        for key, value in job["secrets"].items():
            assert value == f"${{{{ secrets.{key} }}}}", "no secret in plain text"
        if "common.yml" in job["uses"]:
            assert job["with"]["SUBAPP_PATHS"] == "__ROOT_APP__"
            assert job["with"]["RELEASE_TYPE"] in ("release", "release-branch", "publish")
        else:
            assert (ROOT / job["with"]["dockerfile_path"]).is_file()
            assert job["with"]["image_name"] == MANIFEST["docker_image"].split(":")[0]
