//! The description of the routes: complete, consistent, and in agreement with the README.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use serde_json::Value;

use crate::client::TestServer;

const METHODS: [&str; 5] = ["get", "post", "put", "delete", "patch"];

fn document() -> Value {
    serde_json::from_str(serve_florence_2::server::openapi_json()).unwrap()
}

/// Every operation of the document: path, method, and what is said of it.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &Value)| {
        let item = item.as_object().unwrap().clone();
        let path = path.clone();
        item.into_iter().map(move |(method, operation)| (path.clone(), method, operation)).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

fn walk<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|value| walk(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn it_is_served_as_a_document_and_as_a_page() {
    let server = TestServer::start();
    let answer = server.get("/openapi.json").await;
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(answer.json(), document());
    assert_eq!(answer.json()["openapi"], "3.1.0");
    let page = server.get("/docs").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/html"));
    assert!(page.headers.contains_key(header::CONTENT_SECURITY_POLICY));
}

/// The router takes a described method of a path, and no other.
#[tokio::test]
async fn what_is_described_is_there_and_what_is_there_is_described() {
    let server = TestServer::start();
    let mut described: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, method, _) in operations(&document()) {
        described.entry(path).or_default().insert(method);
    }
    assert!(described.len() > 50, "{} paths", described.len());
    for (path, methods) in &described {
        for method in METHODS {
            let request = Request::builder()
                .method(Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap())
                .uri(path.replace("{name}", "main.js"));
            let status = server.send(request.body(Body::empty()).unwrap()).await.status;
            let is_there = ![StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(&status);
            assert_eq!(is_there, methods.contains(method), "{method} {path}: {status}");
        }
    }
}

/// Routes come from one declaration each, which holds the description as well; nothing is put into the router beside them.
#[test]
fn no_route_is_added_without_its_description() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server");
    let source = std::fs::read_to_string(folder.join("router.rs")).unwrap();
    let beside: Vec<&str> = source
        .lines()
        .map(str::trim)
        .filter(|line| [".route(", ".route_service(", ".nest_service("].iter().any(|call| line.contains(call)))
        .collect();
    // The page once more, where its address ends with a slash.
    assert_eq!(beside.len(), 1, "{beside:?}");
    assert!(beside[0].contains("{prefix}/"), "{beside:?}");
    let declared = source.matches(".routes(routes!(").count();
    let distinct = operations(&document()).iter().map(|(path, ..)| path.clone()).collect::<HashSet<_>>().len();
    assert_eq!(declared, distinct);
}

/// The paths that the README's table names in its first column.
fn readme_paths() -> BTreeSet<String> {
    let readme = include_str!("../../README.md");
    let table = readme.split("\n## Routes\n").nth(1).unwrap().split("\n\n| variable").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split(" | ").next().unwrap());
    let words = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    words.filter_map(|word| word.split([' ', '?']).find(|part| part.starts_with('/'))).map(str::to_owned).collect()
}

#[test]
fn the_readme_names_the_same_routes() {
    let described: BTreeSet<String> = operations(&document())
        .into_iter()
        .map(|(path, ..)| path)
        // The page's files are nobody's to call.
        .filter(|path| path != "/page/{name}")
        .collect();
    let named = readme_paths();
    let difference: Vec<_> = described.symmetric_difference(&named).collect();
    assert!(difference.is_empty(), "in one of both only: {difference:?}");
}

#[test]
fn it_holds_together() {
    let document = document();
    let mut references = vec![];
    walk(&document, &mut references);
    assert!(references.len() > 50);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let tags: HashSet<&str> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let mut ids = HashSet::new();
    for (path, method, operation) in operations(&document) {
        let at = format!("{method} {path}");
        assert!(operation["summary"].as_str().is_some_and(|summary| summary.len() > 5), "{at} has no summary");
        let used: Vec<&str> = operation["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap()).collect();
        assert!(matches!(used.as_slice(), [tag] if tags.contains(tag)), "{at}: {used:?}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{at}: its id is taken");
        assert!(operation["responses"]["default"].is_object(), "{at} never fails?");
        let body = &operation["requestBody"]["content"]["application/json"];
        let needs_example = body["schema"]["$ref"].as_str().is_some_and(|name| !name.contains("EmptyEnvelope"));
        assert!(!needs_example || body["example"].is_object(), "{at} has no example");
    }
}

#[test]
fn the_settings_are_those_that_clients_are_told() {
    let document = document();
    let described = document["components"]["schemas"]["Settings"]["properties"].as_object().unwrap();
    let told: Value = yaml_serde::from_str(serve_florence_2::supervisely::DEFAULT_SETTINGS_YAML).unwrap();
    for (name, default) in told.as_object().unwrap() {
        let described = described.get(name).unwrap_or_else(|| panic!("{name} is not described"));
        assert_eq!(described.get("default").unwrap_or(&Value::Null), default, "{name}");
    }
    let beside: Vec<&String> = described.keys().filter(|name| told.get(name.as_str()).is_none()).collect();
    assert_eq!(beside, ["rectangle", "rectangles"]);
}
