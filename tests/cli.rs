//! The program as a user calls it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use support::random::Random;
use support::scenes::Scene;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serve-florence-2"));
    // Neither the hub nor the caches of this machine.
    command.env("HF_HUB_OFFLINE", "1").env("HF_ENDPOINT", "http://127.0.0.1:9").env_remove("LOG_LEVEL");
    command.env_remove("APPS_CACHE_DIR").env("HOME", env!("CARGO_TARGET_TMPDIR"));
    command
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

fn run_with_input(arguments: &[&str], input: &[u8]) -> Output {
    let mut child =
        program().args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Exit code 2 and one line that holds each of the parts.
fn is_refused(arguments: &[&str], parts: &[&str]) {
    let output = run(arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
    assert_eq!(error.trim_end().lines().count(), 1, "{arguments:?}: {error}");
    assert!(parts.iter().all(|part| error.contains(part)), "{arguments:?}: {error:?} does not hold {parts:?}");
    assert!(output.stdout.is_empty());
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn draw_scene(folder: &Path, name: &str, seed: u64) -> PathBuf {
    let scene = Scene::draw(&mut Random::new(seed), 256);
    let path = folder.join(name);
    image::RgbImage::from_raw(256, 256, scene.picture.into_rgb()).unwrap().save(&path).unwrap();
    path
}

#[test]
fn wrong_arguments_are_one_line_and_exit_code_2() {
    is_refused(&[], &["command"]);
    is_refused(&["dance"], &["dance"]);
    is_refused(&["serve", "--colour", "red"], &["--colour"]);
    is_refused(&["serve", "--port", "70000"], &["70000"]);
    is_refused(&["serve", "--model", "Florence-3"], &["Florence-3", "Florence-2-large", "demo"]);
    is_refused(&["serve", "--model", "demo", "--device", "tpu"], &["tpu", "cuda:N"]);
    is_refused(&["serve", "--weights", "/no/such/folder"], &["/no/such/folder"]);
    is_refused(&["predict", "--model", "demo"], &["FILE|FOLDER", "--project-id", "--image-id"]);
    is_refused(&["predict", "a.png", "--project_id", "1"], &["FILE|FOLDER", "cannot be used with", "--project-id"]);
    is_refused(&["predict", "--image_id", "1", "--dataset_id", "1,2"], &["--image-id", "--dataset-id"]);
    is_refused(&["predict", "--image_id", "one"], &["\"one\" is no id"]);
    is_refused(&["predict", "a.png", "--model", "demo", "--upload"], &["--upload", "--image_id"]);
    is_refused(&["predict", "clip.mp4", "--model", "demo"], &["clip.mp4 is a video"]);
    is_refused(&["predict", "a.png", "--model", "/experiments/7/best"], &["/experiments/7/best", "Team Files"]);
    is_refused(&["predict", "a.png", "--runtime", "TensorRT"], &["TensorRT", "only PyTorch"]);
    is_refused(&["deploy", "--runtime", "ONNXRuntime"], &["ONNXRuntime", "only PyTorch"]);
    is_refused(&["deploy", "--model", "demo", "--settings", "conf=0.4"], &["--settings", "each request"]);
    is_refused(&["deploy", "--weights", "/no/such/folder", "--runtime", "pytorch"], &["/no/such/folder"]);
    is_refused(&["predict", "a.png", "--model", "demo", "--task", "<DANCE>"], &["<DANCE>", "<OD>"]);
    is_refused(&["predict", "a.png", "--model", "demo", "--mapping", "{oops"], &["--mapping"]);
    is_refused(&["parse", "--task", "<OD>", "--size", "12"], &["12"]);
    is_refused(&["generate", "--model", "demo", "--image", "absent.png", "--prompt", "<OD>"], &["absent.png"]);
    let empty = tempfile::tempdir().unwrap();
    is_refused(
        &["generate", "--weights", text(empty.path()), "--image", "a.png", "--prompt", "<OD>"],
        &["config.json"],
    );
    is_refused(&["predict", text(empty.path()), "--model", "demo"], &["no picture"]);
}

#[test]
fn a_model_that_cannot_be_fetched_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let picture = draw_scene(folder.path(), "a.png", 1);
    let output = program()
        .args(["generate", "--model", "Florence-2-base", "--image", text(&picture), "--prompt", "<OD>"])
        .env("HF_HOME", folder.path())
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("Florence-2-base is not on this machine") && error.contains("--weights"), "{error}");
    assert_eq!(error.lines().filter(|line| line.starts_with("error:")).count(), 1, "{error}");
}

#[test]
fn version_and_models_are_printed() {
    assert_eq!(stdout(&run(&["--version"])).trim(), concat!("serve-florence-2 ", env!("CARGO_PKG_VERSION")));
    let models = stdout(&run(&["models"]));
    assert_eq!(models.lines().count(), 5, "{models}");
    assert!(models.contains("microsoft/Florence-2-large-ft") && models.contains("43.4"), "{models}");
}

#[test]
fn openapi_prints_what_the_server_answers() {
    assert_eq!(stdout(&run(&["openapi"])), serve_florence_2::server::openapi_json());
}

#[test]
fn parse_reads_stdin_as_it_is() {
    let parse = |task: &str, input: &str| {
        let output = run_with_input(&["parse", "--task", task, "--size", "1000x500"], input.as_bytes());
        serde_json::from_str::<Value>(&stdout(&output)).unwrap()
    };
    let boxes = json!({"bboxes": [[1.5, 1.25, 3.5, 2.25]], "labels": ["car"]});
    assert_eq!(parse("<OD>", "</s><s>car<loc_1><loc_2><loc_3><loc_4></s>"), boxes);
    assert_eq!(parse("<NEW_TASK>", "</s><s>a  car .</s>\n"), json!("a  car .\n"));
    let quads = json!({"quad_boxes": [[0.5, 0.25, 0.5, 0.25, 0.5, 0.25, 0.5, 0.25]], "labels": ["</s>hi"]});
    assert_eq!(parse("<OCR_WITH_REGION>", &format!("</s><s>hi{}</s>", "<loc_0>".repeat(8))), quads);
}

#[test]
fn generate_prints_a_line_for_each_pair() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = [1, 2].map(|seed| draw_scene(folder.path(), &format!("{seed}.png"), seed));
    let lines = |arguments: &[&str]| -> Vec<Value> {
        let arguments = [&["generate", "--model", "demo"], arguments].concat();
        stdout(&run(&arguments)).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let both = lines(&["--image", text(&one), text(&two), "--prompt", "<OD>", "<CAPTION>"]);
    assert_eq!(both.len(), 2);
    let keys: Vec<_> = both[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["prompt_ids", "ids", "score", "text", "stop", "answer", "box_scores"]);
    assert_eq!(both[0]["ids"][0], 2);
    assert_eq!(both[0]["stop"], "stop");
    let boxes = both[0]["answer"]["bboxes"].as_array().unwrap().len();
    assert!(boxes > 0 && both[0]["box_scores"].as_array().unwrap().len() == boxes);
    assert!(both[1]["answer"].as_str().is_some_and(|caption| caption.starts_with('a') || caption.starts_with('t')));

    let cut = lines(&[
        "--image",
        text(&one),
        "--prompt",
        "<OD>",
        "--max-new-tokens",
        "4",
        "--length-penalty",
        "-1.0",
        "--num-beams",
        "2",
        "--no-repeat-ngram-size",
        "0",
        "--early-stopping",
        "never",
        "--image-size",
        "96x128",
    ]);
    assert_eq!((cut[0]["stop"].as_str(), cut[0]["ids"].as_array().unwrap().len()), (Some("length"), 5));

    is_refused(&["generate", "--model", "demo", "--image", text(&one), "--prompt", "<OD>cat"], &["<OD>"]);
    is_refused(
        &["generate", "--model", "demo", "--image", text(&one), "--prompt", "<OD>", "--image-size", "96x5000"],
        &["96x5000"],
    );
}

#[test]
fn predict_writes_annotations_and_reports_bad_files_at_the_end() {
    let pictures = tempfile::tempdir().unwrap();
    let output = tempfile::tempdir().unwrap();
    let annotations = output.path().join("annotations");
    draw_scene(pictures.path(), "b.png", 3);
    draw_scene(pictures.path(), "a.jpg", 4);
    std::fs::write(pictures.path().join("notes.txt"), "no picture, and not meant to be one").unwrap();
    let folder = text(pictures.path());
    let arguments = ["predict", folder, "--model", "DEMO", "--task", "<OD>", "--output", text(&annotations), "--draw"];
    assert!(run(&arguments).status.success());
    let written = annotations.join(pictures.path().file_name().unwrap());
    for name in ["a.jpg", "b.png"] {
        let annotation = support::read_json(&written.join(format!("{name}.json")));
        assert_eq!(annotation["size"], json!({"height": 256, "width": 256}));
        let objects = annotation["objects"].as_array().unwrap();
        assert!(!objects.is_empty() && objects.iter().all(|object| object["geometryType"] == "rectangle"));
        let drawn = image::open(written.join(format!("{name}.png"))).unwrap();
        assert_eq!((drawn.width(), drawn.height()), (256, 256));
    }
    assert_eq!(std::fs::read_dir(&written).unwrap().count(), 4);
    assert_eq!(std::fs::read_dir(&annotations).unwrap().count(), 1);

    std::fs::write(pictures.path().join("c.png"), "text").unwrap();
    let failed = run(&arguments);
    let error = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(1));
    assert!(error.contains("c.png") && error.contains("1 of 3 pictures failed"), "{error}");
    assert!(written.join("b.png.json").is_file());
}

#[test]
fn predict_overwrites_no_picture() {
    let folder = tempfile::tempdir().unwrap();
    let shot = draw_scene(folder.path(), "shot.jpg", 5);
    let other = draw_scene(folder.path(), "shot.jpg.png", 6);
    let before = std::fs::read(&other).unwrap();
    let output =
        run(&["predict", text(&shot), text(&other), "--model", "demo", "--output", text(folder.path()), "--draw"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("shot.jpg.png is already there"));
    assert_eq!(std::fs::read(&other).unwrap(), before);
}

#[test]
fn predict_goes_without_a_folder_for_its_output() {
    let folder = tempfile::tempdir().unwrap();
    let picture = draw_scene(folder.path(), "a.png", 8);
    let arguments = ["predict", text(&picture), "--model", "demo", "--runtime", "PyTorch", "--device", "cpu"];
    let output = program().args(arguments).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(folder.path().join("predictions/a.png.json").is_file());
}

#[test]
fn settings_are_words_or_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let picture = draw_scene(folder.path(), "a.png", 7);
    let predict = |settings: &[&str]| {
        let output = folder.path().join("out");
        let arguments = ["predict", text(&picture), "--model", "demo", "--output", text(&output), "--settings"];
        let ran = run(&[&arguments, settings].concat());
        assert!(ran.status.success(), "{ran:?}");
        support::read_json(&output.join("a.png.json"))
    };
    let labels = |annotation: &Value| annotation["objects"].as_array().unwrap().len();
    let all = predict(&["task_prompt=<OD>"]);
    assert!(labels(&all) > 0);
    let scored = predict(&["task_prompt:<OD>", "scores=True"]);
    assert_eq!((labels(&scored), &scored["objects"][0]["tags"][0]["name"]), (labels(&all), &json!("confidence")));
    assert_eq!(labels(&predict(&["task_prompt=<OD>", "min_box_px=300"])), 0);
    let half = "rectangle={\"points\": {\"exterior\": [[0, 0], [255, 127]], \"interior\": []}}";
    let upper = predict(&["task_prompt=<OD>", half]);
    let is_above = |label: &Value| label["points"]["exterior"][1][1].as_i64().unwrap() <= 127;
    assert!(upper["objects"].as_array().unwrap().iter().all(is_above), "{upper}");
    assert!(!all["objects"].as_array().unwrap().iter().all(is_above), "{all}");

    let [yaml, json] = ["settings.yaml", "settings.json"].map(|name| folder.path().join(name));
    std::fs::write(&yaml, "# wanted\ntask_prompt: <OD>\nscores: true\n").unwrap();
    std::fs::write(&json, r#"{"task_prompt": "<OD>", "scores": true}"#).unwrap();
    assert_eq!([predict(&[text(&yaml)]), predict(&[text(&json)])], [scored.clone(), scored]);

    let refused = |settings: &[&str], parts: &[&str]| {
        is_refused(&[&["predict", text(&picture), "--model", "demo", "--settings"], settings].concat(), parts);
    };
    refused(&["confidence=0.5"], &["\"confidence\"", "nms_iou"]);
    refused(&["conf=5"], &["conf must be a number from 0 to 1"]);
    refused(&["conf=0.5", "b.png"], &["b.png", "before --settings"]);
    refused(&["absent.yaml"], &["absent.yaml"]);
    std::fs::write(&yaml, "speed: 3\n").unwrap();
    refused(&[text(&yaml)], &["\"speed\""]);
}

/// The folder may be named by `--model` as in the original, or by `--weights`.
#[test]
fn a_folder_is_a_model() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden");
    let picture = fixtures.join("images/scene_a.png");
    let weights = fixtures.join("tiny_a/original");
    let output = tempfile::tempdir().unwrap();
    let annotation = |option: &str| {
        let folder = output.path().join(option);
        let arguments = ["predict", text(&picture), option, text(&weights), "--output", text(&folder)];
        let ran = run(&arguments);
        assert!(ran.status.success(), "{ran:?}");
        support::read_json(&folder.join("scene_a.png.json"))
    };
    assert_eq!(annotation("--model"), annotation("--weights"));
}

#[test]
fn pictures_of_the_platform_need_one() {
    let predict = |variables: &[(&str, &str)]| {
        let mut command = program();
        command.args(["predict", "--image_id", "1", "--model", "demo"]).env_remove("SERVER_ADDRESS");
        let output = command.env_remove("API_TOKEN").envs(variables.iter().copied()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for variables in [vec![], vec![("SERVER_ADDRESS", "http://127.0.0.1:9")]] {
        let (code, error) = predict(&variables);
        assert!(code == Some(2) && error.contains("SERVER_ADDRESS and API_TOKEN"), "{error}");
    }
    let nobody =
        [("SERVER_ADDRESS", "http://127.0.0.1:9"), ("API_TOKEN", "t"), ("SUPERVISELY_PUBLIC_API_RETRIES", "1")];
    let (code, error) = predict(&nobody);
    assert!(code == Some(1) && error.contains("cannot be reached"), "{error}");
}

/// A model that loops writes captions that do not fit behind the picture.
#[test]
fn captions_of_any_length_are_grounded() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden");
    let output = tempfile::tempdir().unwrap();
    for picture in ["scene_a.png", "scene_b.png", "noise.png", "gradient.png", "checker.png"] {
        let picture = fixtures.join("images").join(picture);
        let weights = fixtures.join("tiny_a/original");
        let arguments = ["predict", text(&picture), "--weights", text(&weights), "--output", text(output.path())];
        assert!(run(&arguments).status.success(), "{}", picture.display());
    }
}

#[test]
fn every_stage_is_timed_with_exactly_as_many_tokens_as_asked_for() {
    let arguments =
        "bench --model demo --device cpu --batch 2 --prompts 3 --beams 2 --tokens 7 --prompt-tokens 5 --repeat 2";
    let scene = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/scenes/scene_00.png");
    let mut arguments: Vec<&str> = arguments.split(' ').collect();
    arguments.extend(["--picture", text(&scene)]);
    let table = stdout(&run(&arguments));
    arguments.push("--json");
    let report: Value = serde_json::from_str(&stdout(&run(&arguments))).unwrap();
    assert_eq!((&report["new_tokens"], &report["batch"], &report["prompts"]), (&json!(7), &json!(2), &json!(3)));
    for stage in ["decode", "resize", "vision", "projector", "encoder", "cross_kv", "step", "generate"] {
        for kind in ["ms", "min_ms", "cpu_ms"] {
            assert!(report[kind][stage].as_f64().unwrap() > 0., "{kind} {stage}: {report}");
        }
        assert!(table.contains(stage), "{table}");
    }
    assert!(report["rss_peak_mib"].as_u64().unwrap() > 5);

    is_refused(&["bench", "--model", "demo", "--picture", "nowhere.jpg"], &["cannot read nowhere.jpg"]);
    is_refused(&["bench", "--random", "huge"], &["huge", "base or large"]);
    is_refused(&["bench", "--random", "base", "--model", "demo"], &["--model"]);
    is_refused(&["bench", "--model", "demo", "--tokens", "0"], &["--tokens"]);
    is_refused(&["bench", "--model", "demo", "--tokens", "9999"], &["at most"]);
    is_refused(&["bench", "--model", "demo", "--beams", "17"], &["at most 16"]);
    is_refused(&["bench", "--model", "demo", "--prompt-tokens", "9999"], &["at most"]);
}
