//! Requests and answers of the original, replayed.
//!
//! Recorded inference by id is sent here as an upload of a picture of the same size; the answer must be the same but
//! for the fields that say where the picture came from.

use std::fs;
use std::path::Path;

use axum::body::Body;
use axum::http::{Method, Request, header};
use serde_json::{Value, json};
use serve_florence_2::engine::Deployment;

use crate::client::{Answer, Form, TestServer, json_request, png};

/// Fields that say where a picture came from, null for an upload.
const ORIGIN_FIELDS: [&str; 4] = ["name", "project_id", "dataset_id", "image_id"];

fn recording(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/recordings/{name}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A picture of the size that the recordings' file of this name or id has.
fn file_content(name: &str) -> Vec<u8> {
    match name {
        "street.png" | "301" => png(640, 480),
        "yard.jpg" | "302" => png(320, 240),
        "alpha.png" | "303" => png(100, 200),
        "grey.jpg" | "304" => png(64, 64),
        "broken.png" => b"this is not a picture at all".to_vec(),
        other => panic!("the recordings have no file {other}"),
    }
}

fn build_request(recorded: &Value) -> Request<Body> {
    let path = recorded["path"].as_str().unwrap();
    let method: Method = recorded["method"].as_str().unwrap().parse().unwrap();
    if let Some(parts) = recorded["multipart"].as_array() {
        return build_form(parts).into_request(path);
    }
    if path == "/inference_image_id" {
        let state = &recorded["json"]["state"];
        let image_id = state["image_id"].to_string();
        return Form::default()
            .file("by_id.png", &file_content(&image_id))
            .text("state", state)
            .into_request("/inference_image");
    }
    if let Some(body) = recorded.get("json") {
        return json_request(method, path, body.to_string());
    }
    let mut request = Request::builder().method(method).uri(path);
    if let Some(content_type) = recorded["headers"]["content-type"].as_str() {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    request.body(Body::from(recorded["body_text"].as_str().unwrap_or_default().to_owned())).unwrap()
}

fn build_form(parts: &[Value]) -> Form {
    parts.iter().fold(Form::default(), |form, part| match part["filename"].as_str() {
        Some(file_name) => form.file(file_name, &file_content(file_name)),
        None => form.text(part["name"].as_str().unwrap(), part["text"].as_str().unwrap()),
    })
}

/// Replays a recording. `mended` names the exchanges where the original's answer is a fault, with our status.
async fn replay_on(server: &TestServer, name: &str, mended: &[(usize, u16)]) {
    for (index, exchange) in recording(name)["exchanges"].as_array().unwrap().iter().enumerate() {
        let at = format!("{name}, exchange {index}");
        let answer = server.send(build_request(&exchange["request"])).await;
        match mended.iter().find(|(exchange, _)| *exchange == index) {
            Some((_, status)) => assert_eq!(answer.status.as_u16(), *status, "{at}: {answer:?}"),
            None => compare_answer(&exchange["response"], &answer, &at),
        }
    }
}

async fn replay(name: &str) {
    replay_on(&TestServer::start(), name, &[]).await;
}

fn compare_answer(recorded: &Value, answer: &Answer, at: &str) {
    assert_eq!(Value::from(answer.status.as_u16()), recorded["status"], "{at}: {answer:?}");
    let mut recorded = recorded["json"].clone();
    if recorded.get("annotation").is_some() {
        ORIGIN_FIELDS.into_iter().for_each(|field| recorded[field] = Value::Null);
    }
    let got = answer.json();
    if answer.status.is_client_error() {
        // More keys than the original sends are welcome here.
        recorded.as_object().unwrap().keys().for_each(|key| assert!(got.get(key).is_some(), "{at}: no {key}"));
    } else {
        assert_eq!(keys(&got), keys(&recorded), "{at}: the keys or their order");
    }
    compare(&recorded, &got, at);
}

/// Keys of the outermost object, or of the first one in a list, in their order.
fn keys(value: &Value) -> Vec<String> {
    match value {
        Value::Object(object) => object.keys().cloned().collect(),
        Value::Array(items) => items.first().map(keys).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn compare(recorded: &Value, got: &Value, at: &str) {
    match (recorded, got) {
        (Value::String(kind), Value::String(text)) if kind == "<#RRGGBB>" => {
            assert!(text.len() == 7 && text.starts_with('#'), "{at}: {text} is no colour");
        }
        (Value::String(kind), Value::String(_)) if kind == "<string>" => {}
        // The words of the two JSON readers differ, what they are about does not.
        (Value::String(recorded), Value::String(text)) if recorded.starts_with("Cannot decode settings: ") => {
            assert!(text.starts_with("Cannot decode settings: "), "{at}: {text}");
        }
        (Value::Object(recorded), Value::Object(got)) => {
            for (key, value) in recorded {
                compare(value, got.get(key).unwrap_or(&Value::Null), &format!("{at}.{key}"));
            }
        }
        (Value::Array(recorded), Value::Array(got)) => {
            assert_eq!(got.len(), recorded.len(), "{at}: {got:?}");
            for (index, (recorded, got)) in recorded.iter().zip(got).enumerate() {
                compare(recorded, got, &format!("{at}[{index}]"));
            }
        }
        _ => assert_eq!(got, recorded, "{at}"),
    }
}

#[tokio::test]
async fn information_is_that_of_the_original() {
    for name in ["session_info", "deploy_info", "is_deployed", "health", "wrong_routes"] {
        replay(name).await;
    }
}

#[tokio::test]
async fn predictions_are_those_of_the_original() {
    for name in [
        "upload_png",
        "upload_batch",
        "upload_flat_settings",
        "image_id_default",
        "image_id_mapping",
        "image_id_rectangle",
        "image_id_tasks",
        "image_id_phrases",
        "image_id_empty",
        "image_id_alpha",
        "image_id_settings_absent",
        "model_meta_grows",
    ] {
        replay(name).await;
    }
}

#[tokio::test]
async fn refused_uploads_are_those_of_the_original() {
    let server = TestServer::start();
    // A broken picture is 500 in the original; it is the caller's fault, and clients repeat a 500.
    replay_on(&server, "upload_errors", &[(1, 400)]).await;
    replay_on(&server, "upload_batch_broken", &[(0, 400)]).await;
    // The second exchange makes the original's fake model fail by a setting, which ours does by a phrase.
    replay_on(&server, "upload_errors_more", &[(1, 500)]).await;
}

#[tokio::test]
async fn envelopes_that_the_original_stumbles_over_are_refused() {
    let server = TestServer::start();
    // The last exchange has a null context, which a form does not have.
    let mended = [(0, 400), (2, 400), (3, 400), (4, 200)];
    replay_on(&server, "bodies_more", &mended).await;
}

#[tokio::test]
async fn the_settings_hold_the_originals_text() {
    let server = TestServer::start();
    let answer = server.post("/get_custom_inference_settings", &json!({})).await.json();
    let recorded = recording("inference_settings");
    let recorded = recorded["exchanges"][0]["response"]["json"]["settings"].as_str().unwrap();
    assert!(answer["settings"].as_str().unwrap().starts_with(recorded));
}

#[tokio::test]
async fn a_score_becomes_a_tag_where_it_is_asked_for() {
    let recorded = recording("image_id_score");
    let mut request = recorded["exchanges"][0]["request"].clone();
    request["json"]["state"]["settings"]["scores"] = json!(true);
    let server = TestServer::start();
    let answer = server.send(build_request(&request)).await;
    compare_answer(&recorded["exchanges"][0]["response"], &answer, "image_id_score");
}

/// The original captions the picture and ignores the text (quirk 1 of the recordings).
#[tokio::test]
async fn the_text_of_apply_florence_is_grounded() {
    let recorded = recording("image_id_apply_florence_app");
    let server = TestServer::start();
    let answer = server.send(build_request(&recorded["exchanges"][0]["request"])).await.json();
    let titles: Vec<&Value> =
        answer["annotation"]["objects"].as_array().unwrap().iter().map(|label| &label["classTitle"]).collect();
    assert_eq!(titles, ["wheel_bbox"]);
}

#[tokio::test]
async fn an_undeployed_server_says_so_in_the_originals_words() {
    let server = TestServer::start();
    server.engine.set_deployment(Deployment::default());
    replay_on(&server, "undeployed_info", &[(2, 409), (3, 200)]).await;
    let recorded = recording("undeployed_info");
    let answer = server.post("/get_session_info", &json!({})).await.json();
    assert_eq!(answer["detail"], recorded["exchanges"][2]["response"]["json"]["detail"]);
    replay_on(&server, "undeployed_inference", &[(0, 409), (1, 409)]).await;
}
