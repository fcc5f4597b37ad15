//! What the suites send, and how they look at the answers.

use std::io::Cursor;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use image::{DynamicImage, ImageFormat};
use serde_json::{Value, json};
use serve_florence_2::lifecycle::{Lifecycle, LifecycleSettings};
use serve_florence_2::server::{AppState, Identity, router};
use serve_florence_2::session::{Session, SessionSettings};
use tower::ServiceExt;

use crate::fake_engine::FakeEngine;

const BOUNDARY: &str = "a-boundary-that-no-part-contains";

/// A server without a socket.
pub struct TestServer {
    pub router: Router,
    pub engine: FakeEngine,
}

/// An answer, read in full.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

/// A multipart body under construction.
#[derive(Default, Clone)]
pub struct Form {
    body: Vec<u8>,
}

impl TestServer {
    /// The server that the recordings were made with.
    pub fn start() -> Self {
        Self::start_with(FakeEngine::new(), SessionSettings::default())
    }

    /// A server on this engine.
    pub fn start_with(engine: FakeEngine, settings: SessionSettings) -> Self {
        let session = Session::new(Arc::new(engine.clone()), settings);
        let identity = Identity { app_name: "Serve Florence-2".to_owned(), session_id: Some(777), production: true };
        let lifecycle = Lifecycle::new(Arc::new(session), LifecycleSettings::default());
        Self { router: router(AppState::new(lifecycle, identity), None), engine }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(json_request(Method::POST, path, body.to_string())).await
    }

    pub async fn upload(&self, path: &str, form: Form) -> Answer {
        self.send(form.into_request(path)).await
    }

    /// One small picture with these settings.
    pub async fn infer(&self, settings: Value) -> Answer {
        let state = json!({ "settings": settings });
        self.upload("/inference_image", Form::default().file("a.png", &png(100, 80)).text("settings", &state)).await
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|_| panic!("not JSON: {:?}", String::from_utf8_lossy(&self.bytes)))
    }

    /// The text for people, after a look at the shape that every client needs.
    pub fn error_message(&self) -> String {
        let body = self.json();
        assert_eq!(body["success"], json!(false), "{body}");
        let message = body["message"].as_str().unwrap();
        let detail = &body["detail"];
        assert!(detail == message || detail["message"] == message && detail["title"].is_string(), "{body}");
        message.to_owned()
    }
}

impl Form {
    pub fn file(self, name: &str, bytes: &[u8]) -> Self {
        self.part(&format!("name=\"files\"; filename=\"{name}\"\r\nContent-Type: application/octet-stream"), bytes)
    }

    pub fn text(self, name: &str, value: impl ToString) -> Self {
        self.part(&format!("name=\"{name}\""), value.to_string().as_bytes())
    }

    fn part(mut self, disposition: &str, bytes: &[u8]) -> Self {
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n");
        self.body.extend_from_slice(head.as_bytes());
        self.body.extend_from_slice(bytes);
        self.body.extend_from_slice(b"\r\n");
        self
    }

    pub fn into_bytes(mut self) -> Vec<u8> {
        self.body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        self.body
    }

    pub fn content_type() -> String {
        format!("multipart/form-data; boundary={BOUNDARY}")
    }

    pub fn into_request(self, path: &str) -> Request<Body> {
        let request = Request::post(path).header(header::CONTENT_TYPE, Self::content_type());
        request.body(Body::from(self.into_bytes())).unwrap()
    }
}

pub fn json_request(method: Method, path: &str, body: String) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
    request.body(Body::from(body)).unwrap()
}

/// A grey picture of this size as a PNG file.
pub fn png(width: u32, height: u32) -> Vec<u8> {
    picture_file(width, height, ImageFormat::Png)
}

/// A grey picture of this size as a JPEG file.
pub fn jpeg(width: u32, height: u32) -> Vec<u8> {
    picture_file(width, height, ImageFormat::Jpeg)
}

fn picture_file(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    DynamicImage::new_rgb8(width, height).write_to(&mut file, format).unwrap();
    file.into_inner()
}
