//! Answers to well-formed requests that the recordings do not show.

use axum::http::{Method, StatusCode, header};
use serde_json::{Value, json};
use serve_florence_2::engine::{Amount, Deployment, Failure, LoadStep, Loading};

use crate::client::{Form, TestServer, json_request, png};

fn titles(prediction: &Value) -> Vec<&str> {
    let objects = prediction["annotation"]["objects"].as_array().unwrap();
    objects.iter().map(|label| label["classTitle"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_page_is_served_and_answers_pings() {
    let server = TestServer::start();
    let page = server.get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/html"));
    assert!(page.headers.contains_key(header::CONTENT_SECURITY_POLICY));
    let ping = server.get("/?ping=true").await;
    assert_eq!(ping.json(), json!({"message": "App is running"}));
    assert_eq!(server.get("/?ping=false&x=%FF").await.bytes, page.bytes);
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let page = String::from_utf8(TestServer::start().get("/").await.bytes).unwrap();
    assert!(page.len() < 20_000, "{} bytes", page.len());
    for foreign in ["http:", "https:", "src=\"/", "href=\"/", "fetch(\"/", "fetch('/", "@import"] {
        let found = page.replace("http://www.w3.org/", "").contains(foreign);
        assert!(!found, "the page holds {foreign}, which does not work behind a path prefix or without a network");
    }
}

#[tokio::test]
async fn metrics_are_text_for_prometheus() {
    let server = TestServer::start();
    let metrics = server.get("/metrics").await;
    assert_eq!(metrics.status, StatusCode::OK);
    assert!(metrics.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    assert!(String::from_utf8(metrics.bytes).unwrap().contains("\nflorence_ready 1\n"));
    server.engine.set_deployment(Deployment::default());
    assert!(String::from_utf8(server.get("/metrics").await.bytes).unwrap().contains("\nflorence_ready 0\n"));
}

#[tokio::test]
async fn both_meta_routes_answer_the_same() {
    let server = TestServer::start();
    server.infer(json!({"text": "zebra"})).await;
    let meta = server.post("/get_model_meta", &json!({})).await.json();
    assert_eq!(meta, server.post("/get_output_classes_and_tags", &json!({})).await.json());
    assert_eq!(meta["classes"][1]["title"], "zebra_bbox");
}

#[tokio::test]
async fn a_batch_keeps_its_order_and_may_repeat_names() {
    let server = TestServer::start();
    let form = (1..=40_u32).fold(Form::default(), |form, i| form.file("image_0.png", &png(100 + i, 80)));
    let state = json!({"settings": {"text": "car"}, "batch_size": 3});
    let answer = server.upload("/inference_batch", form.text("state", &state)).await.json();
    let widths: Vec<i64> =
        answer.as_array().unwrap().iter().map(|p| p["annotation"]["size"]["width"].as_i64().unwrap()).collect();
    assert_eq!(widths, (101..=140).collect::<Vec<i64>>());
}

#[tokio::test]
async fn each_picture_of_a_batch_may_have_its_region() {
    let server = TestServer::start();
    let form = Form::default().file("a.png", &png(100, 80)).file("b.png", &png(100, 80));
    let region = json!({"points": {"exterior": [[50, 40], [99, 79]], "interior": []}});
    let state = json!({"settings": {"text": "car", "rectangles": [null, region]}});
    let answer = server.upload("/inference_batch", form.text("settings", &state)).await.json();
    let exterior = |index: usize| answer[index]["annotation"]["objects"][0]["points"]["exterior"].clone();
    assert_eq!(exterior(0), json!([[0, 0], [50, 40]]));
    assert_eq!(exterior(1), json!([[50, 40], [75, 60]]));
}

#[tokio::test]
async fn concurrent_requests_keep_their_own_tasks() {
    let server = TestServer::start();
    let (detected, grounded, mapped) = tokio::join!(
        server.infer(json!({"task_prompt": "<OD>"})),
        server.infer(json!({"text": "wheel"})),
        server.infer(json!({"mapping": {"Pet": "cat"}, "text": "loses"})),
    );
    assert_eq!(titles(&detected.json()), ["car_bbox", "person_bbox"]);
    assert_eq!(titles(&grounded.json()), ["wheel_bbox"]);
    assert_eq!(titles(&mapped.json()), ["Pet_bbox"]);
}

#[tokio::test]
async fn odd_sizes_are_pictures_too() {
    let server = TestServer::start();
    for (width, height) in [(1, 1), (4000, 3)] {
        let form = Form::default().file("odd.png", &png(width, height)).text("settings", "{}");
        let answer = server.upload("/inference_image", form).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json()["annotation"]["size"], json!({"height": height, "width": width}));
    }
}

#[tokio::test]
async fn info_routes_do_not_need_a_body() {
    let server = TestServer::start();
    for path in ["/get_session_info", "/get_model_meta", "/get_deploy_info", "/is_deployed", "/is_ready"] {
        let request = axum::http::Request::post(path).body(axum::body::Body::empty()).unwrap();
        assert_eq!(server.send(request).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn a_loading_model_is_asked_again_and_a_failed_one_is_not() {
    let server = TestServer::start();
    let model_name = "Florence-2-large".to_owned();
    let step = LoadStep::Reading(Amount { done_bytes: 500_000_000, total_bytes: 1_500_000_000 });
    let loading = Some(Loading { model_name: model_name.clone(), step });
    server.engine.set_deployment(Deployment { loading, ..Deployment::default() });
    for path in ["/get_session_info", "/get_model_meta", "/get_deploy_info"] {
        let answer = server.post(path, &json!({})).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(answer.headers[header::RETRY_AFTER], "5");
    }
    let answer = server.infer(json!({})).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.error_message(), "Florence-2-large is loading: loading its weights, 500 of 1500 MB");
    assert_eq!(server.get("/livez").await.status, StatusCode::OK);
    assert_eq!(server.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);

    let failure = Some(Failure { model_name, message: "Loading it failed: no such folder".to_owned() });
    server.engine.set_deployment(Deployment { failure, ..Deployment::default() });
    let answer = server.infer(json!({})).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(!answer.headers.contains_key(header::RETRY_AFTER));
    assert!(answer.error_message().ends_with("Loading it failed: no such folder"));
}

#[tokio::test]
async fn wrong_methods_and_paths_have_the_frameworks_bodies() {
    let server = TestServer::start();
    for path in ["/inference_image", "/get_model_meta", "/is_deployed", "/is_running"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(answer.json(), json!({"detail": "Method Not Allowed"}));
        assert_eq!(answer.headers[header::ALLOW], "POST", "{path}");
    }
    let answer = server.send(json_request(Method::DELETE, "/", String::new())).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    let answer = server.get("/nothing/here").await;
    assert_eq!((answer.status, answer.json()), (StatusCode::NOT_FOUND, json!({"detail": "Not Found"})));
}
