//! The program serving the demo model, over a real connection: the README's first request, everything that is wrong with
//! uploads, and what is left of the memory afterwards.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use image::{DynamicImage, ImageFormat, RgbImage};
use serde_json::{Value, json};

/// A running server on a port of its own, ended with the test.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Answer {
    status: u16,
    body: Value,
}

impl Server {
    /// Starts it and waits until the model answers.
    fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts it with these variables in its environment.
    fn start_with(variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_serve-florence-2"))
            .args(["serve", "--model", "demo", "--device", "cpu", "--port", "0"])
            .env("LOG_LEVEL", "info")
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the server ended before it listened");
            if let Some((_, address)) = line.split_once("listening on http://") {
                // The line is JSON, and goes on.
                break address.split(['"', '\n']).next().unwrap().to_owned();
            }
        };
        // Somebody has to read the rest, or the server would wait for it.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let server = Self { child, address };
        while server.send("GET", "/readyz", "text/plain", b"").status != 200 {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        server
    }

    fn send(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        )
        .unwrap();
        stream.write_all(body).unwrap();
        let mut answer = vec![];
        stream.read_to_end(&mut answer).unwrap();
        let head_end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..head_end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, body: serde_json::from_slice(&answer[head_end + 4..]).unwrap_or(Value::Null) }
    }

    fn upload(&self, path: &str, files: &[(&str, &[u8])], settings: &str) -> Answer {
        let mut body = vec![];
        for (name, bytes) in files {
            let head = format!("--edge\r\ncontent-disposition: form-data; name=\"files\"; filename=\"{name}\"\r\n\r\n");
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(bytes);
            body.extend_from_slice(b"\r\n");
        }
        let tail =
            format!("--edge\r\ncontent-disposition: form-data; name=\"settings\"\r\n\r\n{settings}\r\n--edge--\r\n");
        body.extend_from_slice(tail.as_bytes());
        self.send("POST", path, "multipart/form-data; boundary=edge", &body)
    }

    fn image(&self, bytes: &[u8], settings: &Value) -> Answer {
        self.upload("/inference_image", &[("picture", bytes)], &json!({"settings": settings}).to_string())
    }

    /// Memory that the process holds, and the most that it ever held, in MiB.
    fn memory_mib(&self) -> Option<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
        };
        Some((field("VmRSS:")?, field("VmHWM:")?))
    }
}

fn encoded(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let picture = RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 7) as u8, (y * 3) as u8, 100]));
    let mut bytes = Cursor::new(vec![]);
    DynamicImage::from(picture).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn scene(name: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/scenes");
    std::fs::read(folder.join(name)).unwrap()
}

fn boxes(answer: &Answer) -> Vec<(String, [[i64; 2]; 2])> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let objects = answer.body["annotation"]["objects"].as_array().unwrap();
    let read = |object: &Value| {
        let corners = serde_json::from_value(object["points"]["exterior"].clone()).unwrap();
        (object["classTitle"].as_str().unwrap().to_owned(), corners)
    };
    objects.iter().map(read).collect()
}

#[test]
fn the_first_request_of_the_readme_finds_the_circle() {
    let server = Server::start();
    let answer = server.image(&scene("scene_00.png"), &json!({"text": "a red circle"}));
    let found = boxes(&answer);
    assert_eq!(found.len(), 1, "{found:?}");
    let (class, [[left, top], [right, bottom]]) = &found[0];
    assert_eq!(class, "a red circle_bbox");
    let corners = [*left as f64, *top as f64, *right as f64 + 1., *bottom as f64 + 1.];
    assert!(support::scenes::iou(corners, [110.2, 50.0, 202.4, 161.9]) > 0.8, "{corners:?}");
    assert_eq!(answer.body["annotation"]["size"], json!({"height": 320, "width": 320}));

    let names =
        |settings: Value| boxes(&server.image(&scene("scene_00.png"), &settings)).into_iter().map(|(name, _)| name);
    assert!(names(json!({})).any(|name| name == "a red star_bbox"), "the cascade writes and grounds a caption");
    assert!(names(json!({"task_prompt": "<OD>"})).all(|name| name.ends_with("_bbox")));
    let mapping = json!({"mapping": {"ball": "two white circles", "star": "a red star"}, "text": ""});
    let mut classes: Vec<String> = names(mapping).collect();
    classes.dedup();
    assert_eq!(classes, ["ball_bbox", "star_bbox"]);

    let meta = server.send("POST", "/get_model_meta", "application/json", b"{}").body;
    let titles: Vec<_> =
        meta["classes"].as_array().unwrap().iter().map(|class| class["title"].as_str().unwrap()).collect();
    assert!(titles.starts_with(&["object", "a red circle_bbox"]) && titles.contains(&"ball_bbox"), "{titles:?}");
}

#[test]
fn a_batch_keeps_its_order_and_one_bad_file_refuses_it_by_name() {
    let server = Server::start();
    let (first, second) = (scene("scene_02.png"), scene("scene_16.png"));
    let settings = r#"{"settings": {"text": "a yellow cross"}, "batch_size": 1}"#;
    let answer = server.upload("/inference_batch", &[("a.png", &first), ("a.png", &second)], settings);
    let sizes: Vec<_> = answer.body.as_array().unwrap().iter().map(|one| one["annotation"]["size"].clone()).collect();
    assert_eq!(sizes, [json!({"height": 320, "width": 400}), json!({"height": 240, "width": 320})]);

    let answer = server.upload("/inference_batch", &[("good.png", &first), ("bad.png", b"text")], settings);
    assert_eq!(answer.status, 400);
    assert!(answer.body["message"].as_str().unwrap().contains("bad.png"), "{}", answer.body);
    assert_eq!(answer.body["success"], false);
}

#[test]
fn nothing_that_is_wrong_with_a_request_hurts_the_server() {
    let server = Server::start();
    let good = scene("scene_16.png");
    let expected = boxes(&server.image(&good, &json!({"text": "a yellow cross"})));
    let before = server.memory_mib();
    let jpeg = encoded(640, 480, ImageFormat::Jpeg);
    let bomb = png_bomb(30_000);
    assert!(bomb.len() < 2_000_000);

    let refused = |answer: Answer, status: u16, part: &str| {
        let text = answer.body.to_string();
        assert_eq!(answer.status, status, "{text}");
        assert!(text.contains(part), "{text} does not hold {part}");
    };
    refused(server.send("POST", "/inference_image", "application/json", b""), 422, "files");
    refused(server.upload("/inference_image", &[], "{}"), 422, "Field required");
    refused(
        server.upload("/inference_image", &[("a", &good), ("b", &good)], "{}"),
        400,
        "Only one file expected but got 2",
    );
    refused(server.image(b"", &json!({})), 400, "empty");
    refused(server.image(b"just some text in a file named .png", &json!({})), 400, "supported are");
    refused(server.image(&jpeg[..jpeg.len() / 2], &json!({})), 400, "truncated");
    refused(server.image(&good[..good.len() / 2], &json!({})), 400, "picture");
    refused(server.image(&bomb, &json!({})), 400, "30000x30000");
    refused(server.upload("/inference_image", &[("a", &good)], "{oops"), 400, "Cannot decode settings");
    refused(server.upload("/inference_image", &[("a", &good)], "[1, 2]"), 400, "Settings is not json object");
    refused(server.image(&good, &json!({"task_prompt": "<DANCE>"})), 400, "<OD>");
    refused(server.image(&good, &json!({"text": 5})), 400, "text");
    refused(server.image(&good, &json!({"text": "a red circle ".repeat(500)})), 400, "at most");
    refused(server.send("GET", "/inference_image", "text/plain", b""), 405, "Method Not Allowed");
    refused(server.send("POST", "/nowhere", "application/json", b"{}"), 404, "Not Found");

    // Strange, but pictures.
    for (width, height) in [(1, 1), (4000, 3), (3, 4000)] {
        let answer = server.image(&encoded(width, height, ImageFormat::Png), &json!({"task_prompt": "<OD>"}));
        boxes(&answer);
        assert_eq!(answer.body["annotation"]["size"], json!({"height": height, "width": width}));
    }
    // A client that goes away in the middle of its upload.
    let mut stream = TcpStream::connect(&server.address).unwrap();
    write!(stream, "POST /inference_image HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=edge\r\n")
        .unwrap();
    write!(stream, "content-length: 100000\r\n\r\n--edge\r\n").unwrap();
    drop(stream);

    assert_eq!(boxes(&server.image(&good, &json!({"text": "a yellow cross"}))), expected);
    if let (Some((before, _)), Some((after, peak))) = (before, server.memory_mib()) {
        assert!(after < before + 60, "{before} MiB before, {after} MiB after");
        assert!(peak < 200, "{peak} MiB at most");
    }
}

/// Nobody asks anything: an idle server notices by itself.
#[cfg(feature = "fault-points")]
#[test]
fn a_device_that_is_lost_ends_the_process_after_readiness() {
    use std::time::{Duration, Instant};

    let mut server = Server::start_with(&[("FAULT_DEVICE_LOST_AFTER_MS", "4000")]);
    let start = Instant::now();
    let mut was_unready = false;
    let status = loop {
        if let Some(status) = server.child.try_wait().unwrap() {
            break status;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "it goes on");
        // It may end while it is asked.
        was_unready |= std::panic::catch_unwind(|| server.send("GET", "/readyz", "text/plain", b"").status)
            .is_ok_and(|status| status == 503);
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(was_unready, "it is unready before it ends");
    assert_eq!(status.code(), Some(1));
}

/// A PNG of one megabyte that claims, and would unpack to, far more pixels than anybody wants.
fn png_bomb(side: u32) -> Vec<u8> {
    let mut png = encoded(1, 1, ImageFormat::Png);
    png[16..20].copy_from_slice(&side.to_be_bytes());
    png[20..24].copy_from_slice(&side.to_be_bytes());
    let checksum = crc32(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&checksum);
    png.resize(1_000_000, 0);
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}
