//! Bad input: each case is a clear 4xx, nothing runs, and the server goes on.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode, header};
use futures_util::stream;
use serde_json::{Value, json};
use serve_florence_2::engine::PlaceLimits;
use serve_florence_2::session::SessionSettings;

use crate::client::{Form, TestServer, jpeg, png};
use crate::fake_engine::{FakeEngine, Phrase};

/// Header of a PNG of 30000 x 30000 with hardly any data behind it.
fn png_bomb() -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    file.extend_from_slice(&30_000_u32.to_be_bytes());
    file.extend_from_slice(&30_000_u32.to_be_bytes());
    file.extend_from_slice(b"\x08\x02\0\0\0\x09\xa6\x1d\xf7\0\0\0\0IDAT");
    file
}

async fn upload_one(server: &TestServer, name: &str, bytes: &[u8]) -> (StatusCode, String) {
    let answer = server.upload("/inference_image", Form::default().file(name, bytes).text("settings", "{}")).await;
    (answer.status, answer.error_message())
}

async fn refuse(server: &TestServer, settings: Value) -> String {
    let answer = server.infer(settings.clone()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{settings}");
    answer.error_message()
}

#[tokio::test]
async fn unreadable_files_are_named() {
    let server = TestServer::start();
    let truncated = png(200, 200);
    let truncated = truncated.get(..truncated.len() / 2).unwrap();
    let jpeg = jpeg(200, 200);
    let cases: [(&str, &[u8]); 5] = [
        ("notes.png", b"just text"),
        ("empty.jpg", b""),
        ("half.png", truncated),
        ("half.jpg", jpeg.get(..jpeg.len() / 2).unwrap()),
        ("huge.png", &png_bomb()),
    ];
    for (name, bytes) in cases {
        let (status, message) = upload_one(&server, name, bytes).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{name}");
        assert!(message.starts_with(&format!("cannot read file 1 of 1, {name:?}: ")), "{message}");
    }
    assert_eq!(server.engine.asked(), []);
}

#[tokio::test]
async fn one_unreadable_file_refuses_the_batch_before_anything_runs() {
    let server = TestServer::start();
    let form = Form::default().file("a.png", &png(10, 10)).file("b.png", b"broken").file("a.png", &png(10, 10));
    let answer = server.upload("/inference_batch", form).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.error_message().starts_with("cannot read file 2 of 3, \"b.png\": "));
    assert_eq!(server.engine.asked(), []);
}

#[tokio::test]
async fn the_number_of_files_is_checked() {
    let server = TestServer::start();
    let two = Form::default().file("a.png", &png(10, 10)).file("b.png", &png(10, 10));
    let answer = server.upload("/inference_image", two).await;
    assert_eq!(
        (answer.status, answer.error_message().as_str()),
        (StatusCode::BAD_REQUEST, "Only one file expected but got 2")
    );
    for form in [Form::default(), Form::default().text("settings", "{}")] {
        for path in ["/inference_image", "/inference_batch"] {
            let answer = server.upload(path, form.clone()).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
            assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", "files"]));
        }
    }
}

#[tokio::test]
async fn bodies_that_are_no_forms_are_refused() {
    let server = TestServer::start();
    let empty = Request::post("/inference_image").body(Body::empty()).unwrap();
    assert_eq!(server.send(empty).await.status, StatusCode::UNPROCESSABLE_ENTITY);

    let complete = Form::default().file("a.png", &png(50, 50)).into_bytes();
    let cases: [(&str, &[u8]); 4] = [
        (&Form::content_type(), b""),
        (&Form::content_type(), complete.get(..complete.len() - 40).unwrap()),
        (&Form::content_type(), b"--no such boundary\r\n\r\n"),
        ("multipart/form-data", &complete),
    ];
    for (content_type, body) in cases {
        let request = Request::post("/inference_image").header(header::CONTENT_TYPE, content_type);
        let answer = server.send(request.body(Body::from(body.to_vec())).unwrap()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{content_type}, {} bytes", body.len());
        assert!(!answer.error_message().is_empty());
    }
}

#[tokio::test]
async fn settings_that_are_no_json_object_are_refused() {
    let server = TestServer::start();
    for (settings, message) in [
        ("{oops", "Cannot decode settings: "),
        ("[1, 2]", "Settings is not json object"),
        ("null", "Settings is not json object"),
        ("\"text\"", "Settings is not json object"),
        (r#"{"settings": "x"}"#, "settings must be an object, not \"x\""),
        (r#"{"batch_size": "many"}"#, "batch_size must be a positive integer, not \"many\""),
    ] {
        let form = Form::default().file("a.png", &png(10, 10)).text("settings", settings);
        let answer = server.upload("/inference_image", form).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{settings}");
        assert!(answer.error_message().starts_with(message), "{settings}: {answer:?}");
    }
    let deep = "[".repeat(100_000);
    let form = Form::default().file("a.png", &png(10, 10)).text("settings", deep);
    assert_eq!(server.upload("/inference_image", form).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn settings_that_no_model_can_follow_are_explained() {
    let server = TestServer::start();
    let message = refuse(&server, json!({"task_prompt": "<NO_SUCH>"})).await;
    assert!(message.starts_with("task_prompt must be one of <OCR>, ") && message.contains("<OD>"), "{message}");
    let nameless = json!({"task_prompt": "<OCR>", "mapping": {"a": null}});
    assert!(refuse(&server, nameless).await.starts_with("<OCR> finds nothing that a class of the mapping could name"));
    assert_eq!(refuse(&server, json!({"text": 5})).await, "text must be a string, not 5");
    assert_eq!(refuse(&server, json!({"conf": 2})).await, "conf must be a number from 0 to 1, not 2");
    assert_eq!(refuse(&server, json!({"nms_iou": "0.5"})).await, "nms_iou must be a number from 0 to 1, not \"0.5\"");
    let outside = json!({"points": {"exterior": [[0, 0], [100, 79]], "interior": []}});
    assert_eq!(refuse(&server, json!({"rectangle": outside})).await, "Rectangle for crop out of image area!");
    assert_eq!(refuse(&server, json!({"rectangles": []})).await, "rectangles holds 0 regions for 1 pictures");
    assert_eq!(server.engine.asked(), []);
}

#[tokio::test]
async fn large_parts_are_refused_after_they_were_sent() {
    let server = TestServer::start();
    let picture = vec![0; (64 << 20) + 1];
    let answer = server.upload("/inference_image", Form::default().file("large.png", &picture)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.error_message(), "File \"large.png\" has more than 67108864 bytes");

    let text = " ".repeat((4 << 20) + 1);
    let form = Form::default().file("a.png", &png(10, 10)).text("settings", text);
    assert_eq!(server.upload("/inference_image", form).await.status, StatusCode::PAYLOAD_TOO_LARGE);

    let many = (0..4097).fold(Form::default(), |form, _| form.file("a.png", b"x"));
    assert_eq!(server.upload("/inference_batch", many).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_form_without_end_is_cut_off() {
    let server = TestServer::start();
    let head = format!("--{}\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\n", boundary());
    let chunk = Bytes::from(vec![0; 8 << 20]);
    let chunks = std::iter::once(Bytes::from(head)).chain(std::iter::repeat_n(chunk, 65));
    let body = Body::from_stream(stream::iter(chunks.map(Ok::<_, std::io::Error>)));
    let request = Request::post("/inference_image").header(header::CONTENT_TYPE, Form::content_type());
    let answer = server.send(request.body(body).unwrap()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.error_message(), "An upload may have at most 536870912 bytes");
}

fn boundary() -> String {
    Form::content_type().split_once("boundary=").unwrap().1.to_owned()
}

#[tokio::test]
async fn the_engines_refusals_have_their_status() {
    let server = TestServer::start();
    let answer = server.infer(json!({"text": Phrase::OVERLOAD})).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers[header::RETRY_AFTER], "1");
    assert_eq!(refuse(&server, json!({"text": Phrase::REFUSE})).await, "the prompt is too long");
}

#[tokio::test]
async fn a_full_queue_refuses_before_anything_is_decoded_and_batches_leave_room() {
    let limits = PlaceLimits { pictures: 2, run_pictures: 1, ..Default::default() };
    let server = TestServer::start_with(FakeEngine::with_places(limits), SessionSettings::default());
    let upload = |files: &[&[u8]], text: &str| {
        let form = files.iter().fold(Form::default(), |form, bytes| form.file("a.png", bytes));
        let form = form.text("settings", json!({"settings": {"text": text}}));
        server.upload(if files.len() == 1 { "/inference_image" } else { "/inference_batch" }, form)
    };
    let picture = png(10, 10);
    let one: &[&[u8]] = &[&picture];
    let batch: &[&[u8]] = &[&picture, &picture];
    {
        let mut hanging = Box::pin(async { tokio::join!(upload(one, Phrase::HANG), upload(batch, Phrase::HANG)) });
        let mut singles = Box::pin(upload(one, Phrase::HANG));
        let asked = async {
            while server.engine.asked().len() < 3 {
                tokio::task::yield_now().await;
            }
            // What is no picture at all is not even looked at.
            for answer in [upload(&[b"no picture"], "car").await, upload(&[b"no picture", b"neither"], "car").await] {
                assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
                assert_eq!(answer.headers[header::RETRY_AFTER], "1");
            }
        };
        tokio::select! {
            _ = &mut hanging => unreachable!(),
            _ = &mut singles => unreachable!(),
            () = asked => {}
        }
    }
    // They went away, and with them their places.
    assert_eq!(upload(one, "car").await.status, StatusCode::OK);
    assert_eq!(upload(batch, "car").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_told_where_it_was() {
    let settings = SessionSettings { deadline: Duration::from_millis(200), ..SessionSettings::default() };
    let server = TestServer::start_with(FakeEngine::new(), settings);
    let answer = server.infer(json!({"text": Phrase::HANG})).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(answer.error_message(), "the time for the request ran out while writing the answers");
    assert_eq!(server.infer(json!({"text": "car"})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn failures_and_panics_are_answered_and_the_server_goes_on() {
    let server = TestServer::start();
    for (phrase, message) in
        [(Phrase::FAIL, "The model failed: out of memory (error "), (Phrase::PANIC, "The server failed (error ")]
    {
        let answer = server.infer(json!({"text": phrase})).await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(answer.error_message().starts_with(message), "{answer:?}");
    }
    assert_eq!(server.infer(json!({"text": "car"})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn pages_of_other_sites_press_no_buttons() {
    let server = TestServer::start();
    for path in ["/api/stop", "/api/cancel", "/sly/shutdown"] {
        let request = axum::http::Request::post(path).header("sec-fetch-site", "cross-site");
        let answer = server.send(request.body(axum::body::Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(server.get("/readyz").await.status, StatusCode::OK);
    let own = axum::http::Request::post("/api/stop").header("sec-fetch-site", "same-origin");
    assert_eq!(server.send(own.body(axum::body::Body::empty()).unwrap()).await.status, StatusCode::OK);
    assert_eq!(server.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
}
