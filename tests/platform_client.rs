//! The platform's client against a platform on loopback whose answers are written by hand.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use serve_florence_2::supervisely::{
    Address, NewDataset, NewImage, Platform, PlatformAccess, PlatformError, PlatformSettings, Retries, Token,
};
use tokio::net::TcpListener;

/// A call as it arrived.
#[derive(Debug, Clone)]
struct Call {
    method: String,
    headers: HeaderMap,
    body: Value,
}

/// Answers for each method, used up in order; the last one stays.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<HashMap<String, Vec<Answer>>>>,
    calls: Arc<Mutex<Vec<Call>>>,
}

#[derive(Clone)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

fn ok(body: Value) -> Answer {
    Answer { status: 200, headers: vec![], body: body.to_string().into_bytes() }
}

fn status(status: u16) -> Answer {
    let body = json!({"error": "no", "details": {"message": "as scripted"}});
    Answer { status, headers: vec![], body: body.to_string().into_bytes() }
}

async fn answer(State(script): State<Script>, Path(method): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let body = serde_json::from_slice(&body).unwrap();
    script.calls.lock().unwrap().push(Call { method: method.clone(), headers, body });
    let mut answers = script.answers.lock().unwrap();
    let answers = answers.get_mut(&method).unwrap_or_else(|| panic!("nobody expected {method}"));
    let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
    let mut response = (StatusCode::from_u16(answer.status).unwrap(), answer.body).into_response();
    for (name, value) in answer.headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

impl Script {
    fn on(self, method: &str, answers: impl IntoIterator<Item = Answer>) -> Self {
        self.answers.lock().unwrap().insert(method.to_owned(), answers.into_iter().collect());
        self
    }

    async fn serve(&self) -> String {
        let router = Router::new().route("/public/api/v3/{method}", post(answer)).with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("127.0.0.1:{}", address.port())
    }

    async fn client(&self) -> Platform {
        let home = Address::parse(&self.serve().await);
        let retries = Retries { tries: 4, first_pause: Duration::from_millis(1) };
        let settings = PlatformSettings {
            home,
            token: Token::new("own"),
            task_id: Some("777".to_owned()),
            retries,
            ..PlatformSettings::default()
        };
        PlatformAccess::new(settings).client(Token::new("secret-token"), None).unwrap()
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

fn image(id: i64) -> Value {
    json!({"id": id, "name": format!("{id}.png"), "datasetId": 5, "width": 4, "height": 3})
}

#[tokio::test]
async fn calls_carry_the_callers_token_and_our_task() {
    let script = Script::default().on("images.info", [ok(image(1))]);
    let record = script.client().await.image(1).await.unwrap().unwrap();
    assert_eq!((record.id, record.name.as_str(), record.dataset_id), (1, "1.png", 5));
    let call = &script.calls()[0];
    assert!(call.method == "images.info" && call.headers["x-api-key"] == "secret-token");
    assert_eq!(call.headers["x-task-id"], "777");
    assert_eq!(call.body, json!({"id": 1, "forceMetadataForLinks": false}));
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_the_rest_is_not() {
    for passing in [408, 429, 499, 500, 502, 503, 504, 509, 598, 599] {
        let script = Script::default().on("images.info", [status(passing), status(passing), ok(image(1))]);
        assert!(script.client().await.image(1).await.is_ok(), "{passing}");
        assert_eq!(script.calls().len(), 3, "{passing}");
    }
    for lasting in [400, 401, 403, 409, 501] {
        let script = Script::default().on("images.info", [status(lasting), ok(image(1))]);
        let error = script.client().await.image(1).await.unwrap_err();
        let expected =
            PlatformError::Refused { method: "images.info", status: lasting, message: "as scripted".to_owned() };
        assert_eq!((error, script.calls().len()), (expected, 1));
    }
    let script = Script::default().on("images.info", [status(500)]);
    assert!(script.client().await.image(1).await.is_err());
    assert_eq!(script.calls().len(), 4, "all tries");
}

#[tokio::test]
async fn garbage_is_tried_again() {
    let garbage = Answer { status: 200, headers: vec![], body: b"<html>".to_vec() };
    let wrong = ok(json!({"id": "x"}));
    let script = Script::default().on("images.info", [garbage, wrong, ok(image(1))]);
    assert!(script.client().await.image(1).await.is_ok());
}

#[tokio::test]
async fn the_platforms_pause_is_respected() {
    let busy = Answer { headers: vec![("retry-after", "0.2".to_owned())], ..status(429) };
    let script = Script::default().on("images.info", [busy, ok(image(1))]);
    let start = tokio::time::Instant::now();
    assert!(script.client().await.image(1).await.is_ok());
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn an_unknown_picture_is_none() {
    let script = Script::default().on("images.info", [status(404)]);
    assert_eq!(script.client().await.image(1).await, Ok(None));
}

#[tokio::test]
async fn a_redirect_takes_the_token_nowhere() {
    let elsewhere = Script::default().on("images.info", [ok(image(1))]);
    let target = format!("http://{}/public/api/v3/images.info", elsewhere.serve().await);
    let redirect = Answer { headers: vec![("location", target)], ..status(307) };
    let script = Script::default().on("images.info", [redirect]);
    assert!(script.client().await.image(1).await.is_err());
    assert_eq!((script.calls().len(), elsewhere.calls().len()), (1, 0));
}

#[tokio::test]
async fn lists_are_read_to_their_end() {
    let page = |ids: &[i64]| {
        ok(
            json!({"total": 5, "perPage": 2, "pagesCount": 3, "entities": ids.iter().map(|id| image(*id)).collect::<Vec<_>>()}),
        )
    };
    let script = Script::default().on("images.list", [page(&[1, 2]), page(&[3, 4]), page(&[5])]);
    let images = script.client().await.all_images_of_dataset(5).await.unwrap();
    assert_eq!(images.iter().map(|image| image.id).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let bodies: Vec<Value> = script.calls().into_iter().map(|call| call.body).collect();
    assert_eq!((&bodies[0]["page"], &bodies[2]["page"], &bodies[2]["per_page"]), (&Value::Null, &json!(3), &json!(2)));
    assert_eq!(bodies[1]["datasetId"], 5, "the same question on every page");
    let script = Script::default().on("images.list", [page(&[1, 2]), page(&[3, 4]), page(&[])]);
    let error = script.client().await.all_images_of_dataset(5).await.unwrap_err().to_string();
    assert!(error.contains("4 entities of 5"), "{error}");
}

#[tokio::test]
async fn many_ids_are_asked_for_in_parts() {
    let nothing = ok(json!({"total": 0, "perPage": 50, "pagesCount": 0, "entities": []}));
    let script = Script::default().on("images.list", [nothing]);
    let ids: Vec<i64> = (0..120).collect();
    assert_eq!(script.client().await.images_of_dataset(5, &ids).await, Ok(vec![]));
    let parts: Vec<usize> =
        script.calls().iter().map(|call| call.body["filter"][0]["value"].as_array().unwrap().len()).collect();
    assert_eq!(parts, [50, 50, 20]);
}

fn multipart(parts: &[(&str, &[u8])]) -> Answer {
    let mut body = vec![];
    for (name, bytes) in parts {
        body.extend_from_slice(format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--b--\r\n");
    let content_type = (header::CONTENT_TYPE.as_str(), "multipart/form-data; boundary=b".to_owned());
    Answer { headers: vec![content_type], body, ..ok(Value::Null) }
}

#[tokio::test]
async fn several_files_come_in_one_answer_in_any_order() {
    let cut =
        Answer { body: b"--b\r\nContent-Disposition: form-data; name=\"1\"\r\n\r\nhal".to_vec(), ..multipart(&[]) };
    let answers = [cut, multipart(&[("2", b"two"), ("1", b"one\r\n--x")])];
    let script = Script::default().on("images.bulk.download", answers);
    let files = script.client().await.download_images(5, &[1, 2], 100).await.unwrap();
    assert_eq!((files.len(), &files[&1][..], &files[&2][..]), (2, &b"one\r\n--x"[..], &b"two"[..]));
    assert_eq!(script.calls().len(), 2, "a cut answer is asked for again");
}

#[tokio::test]
async fn files_are_bounded() {
    let script = Script::default()
        .on("images.download", [Answer { body: vec![0; 101], ..ok(Value::Null) }])
        .on("images.bulk.download", [multipart(&[("1", &[0; 101])])]);
    let client = script.client().await;
    let too_large = |method| PlatformError::TooLarge { method, most: 100 };
    assert_eq!(client.download_image(1, 100).await, Err(too_large("images.download")));
    assert_eq!(client.download_images(5, &[1], 100).await, Err(too_large("images.bulk.download")));
    assert_eq!(script.calls().len(), 2, "asking again would not make them smaller");
}

#[tokio::test]
async fn copies_that_were_made_before_an_answer_was_lost_are_found() {
    let there = ok(json!({"total": 2, "perPage": 50, "pagesCount": 1, "entities": [image(8), image(9)]}));
    let script = Script::default().on("images.bulk.add", [status(502), status(400)]).on("images.list", [there]);
    let client = script.client().await;
    let copy = |name: &str, image_id| NewImage { name: name.to_owned(), image_id };
    assert_eq!(client.copy_images(5, &[copy("9.png", 1), copy("8.png", 2)]).await, Ok(vec![9, 8]));
    let error = client.copy_images(5, &[copy("other.png", 1)]).await.unwrap_err();
    assert!(error.to_string().contains("400"), "{error}");
}

#[tokio::test]
async fn a_dataset_that_was_made_before_an_answer_was_lost_is_found() {
    let there = |description: &str| {
        let dataset = json!({"id": 8, "name": "a", "projectId": 1, "parentId": null, "description": description});
        ok(json!({"total": 1, "perPage": 50, "pagesCount": 1, "entities": [dataset]}))
    };
    let new = NewDataset { project_id: 1, name: "a".to_owned(), description: "ours".to_owned(), parent_id: None };
    let script = Script::default().on("datasets.add", [status(502), status(400)]).on("datasets.list", [there("ours")]);
    assert_eq!(script.client().await.add_dataset(&new).await.unwrap().id, 8);
    let script = Script::default().on("datasets.add", [status(400)]).on("datasets.list", [there("somebody's")]);
    assert!(script.client().await.add_dataset(&new).await.is_err());
}

#[tokio::test]
async fn annotations_that_are_left_out_are_an_error_and_not_nothing() {
    let some = ok(json!([{"imageId": 1, "annotation": {}}]));
    let script = Script::default().on("annotations.bulk.info", [some]);
    let error = script.client().await.annotations(5, &[1, 2]).await.unwrap_err().to_string();
    assert!(error.contains("image 2 is missing"), "{error}");
}

#[tokio::test]
async fn errors_and_debug_output_hold_no_token() {
    let script = Script::default().on("images.info", [status(403)]);
    let client = script.client().await;
    let error = client.image(1).await.unwrap_err();
    assert!(error.is_forbidden());
    assert!(!format!("{client:?} {error:?} {error}").contains("secret-token"));
    let home = Address::parse("http://127.0.0.1:9");
    let retries = Retries { tries: 1, first_pause: Duration::ZERO };
    let settings = PlatformSettings { home, retries, ..PlatformSettings::default() };
    let error = PlatformAccess::new(settings).client(Token::new("secret-token"), None).unwrap().image(1).await;
    let error = error.unwrap_err();
    assert!(matches!(error, PlatformError::Unreachable { .. }) && !error.to_string().contains("secret-token"));
}
