//! The page and its files, which are part of the program. Nothing of it comes from another host.
//!
//! The platform's proxy shows the page below a prefix of its own, with or without a slash at its end, and tells nobody which. A
//! reference that is a query alone means the same in both cases: so the page names its style and its first script, and
//! `GET /?page=NAME` is `GET /page/NAME`.

use std::sync::LazyLock;

use axum::Json;
use axum::extract::{Path, RawQuery};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::super::error::ApiError;

/// The page's own style and scripts, pictures that the user opens, and this server: nothing else. Frames are not forbidden,
/// because the platform shows the page in one.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'";

/// Name of the page itself.
const INDEX: &str = "index.html";

/// Bytes of a digest that name a version of a file.
const VERSION_BYTES: usize = 8;

/// A file of the page.
struct PageFile {
    name: &'static str,
    bytes: &'static [u8],
    /// Changes with the bytes, so that browsers fetch a file again after an update and only then.
    version: LazyLock<HeaderValue>,
}

/// The table of the page's files, each with the version that its bytes have.
macro_rules! page_files {
    ($($name:literal),+ $(,)?) => {
        [$(PageFile {
            name: $name,
            bytes: include_bytes!(concat!("../page/", $name)),
            version: LazyLock::new(|| version(include_bytes!(concat!("../page/", $name)))),
        }),+]
    };
}

static FILES: [PageFile; 28] = page_files![
    "index.html",
    "docs.html",
    "docs.css",
    "docs.js",
    "style.css",
    "icon.svg",
    "boot.js",
    "api.js",
    "chooser.js",
    "dom.js",
    "draw.js",
    "format.js",
    "inputs.js",
    "keep.js",
    "loading.js",
    "log.js",
    "main.js",
    "mapping.js",
    "notices.js",
    "platform.js",
    "results.js",
    "scene.js",
    "served.js",
    "snippets.js",
    "stage.js",
    "state.js",
    "tasks.js",
    "tryit.js",
];

/// `GET /`. The platform asks with `?ping=true` whether somebody is there.
#[utoipa::path(
    get,
    path = "/",
    tag = "App",
    summary = "The page",
    params(("page" = Option<String>, Query, description = "Name of a file of the page"), ("ping" = Option<bool>, Query, description = "Asks whether somebody is there, in place of the page")),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html"))
)]
pub(in crate::server) async fn show(RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let query = query.unwrap_or_default();
    if is_ping(&query) {
        return Json(json!({ "message": "App is running" })).into_response();
    }
    send(query.split('&').find_map(|pair| pair.strip_prefix("page=")).unwrap_or(INDEX), &headers)
}

/// `GET /page/NAME`.
#[utoipa::path(
    get,
    path = "/page/{name}",
    tag = "App",
    summary = "A file of the page",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 200, description = "Its content.", body = String, content_type = "*/*"))
)]
pub(in crate::server) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    send(&name, &headers)
}

pub(super) fn send(name: &str, headers: &HeaderMap) -> Response {
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        return ApiError::not_found().into_response();
    };
    // Asked about each time, and sent when it has changed.
    let caching = [(header::ETAG, file.version.clone()), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| *known == *file.version) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, fixed_headers(file.name), file.bytes).into_response()
}

fn fixed_headers(name: &str) -> [(HeaderName, &'static str); 4] {
    [
        (header::CONTENT_TYPE, media_type(name)),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
    ]
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

fn version(bytes: &[u8]) -> HeaderValue {
    let digest = Sha256::digest(bytes);
    let digits: String = digest.iter().take(VERSION_BYTES).map(|byte| format!("{byte:02x}")).collect();
    // Hexadecimal digits always are a header's value.
    HeaderValue::from_str(&format!("\"{digits}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

pub(in crate::server) fn is_ping(query: &str) -> bool {
    query.split('&').any(|pair| matches!(pair, "ping=true" | "ping=True" | "ping=1"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Name of the page of the API.
    const DOCS: &str = "docs.html";

    /// The page's weight, with room for what is still to come.
    const MAX_PAGE_BYTES: usize = 150_000;

    fn text(name: &str) -> &'static str {
        let file = FILES.iter().find(|file| file.name == name).unwrap_or_else(|| panic!("{name} is not in the table"));
        std::str::from_utf8(file.bytes).unwrap()
    }

    /// What stands between `start` and the next `end`, each time.
    fn between<'a>(text: &'a str, start: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
        text.split(start).skip(1).filter_map(move |rest| rest.split(end).next())
    }

    #[test]
    fn every_file_of_the_folder_is_served_and_each_once() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server/page");
        let there: BTreeSet<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let served: BTreeSet<String> = FILES.iter().map(|file| file.name.to_owned()).collect();
        assert_eq!(served, there);
        assert_eq!(served.len(), FILES.len());
    }

    #[test]
    fn every_file_that_another_one_names_is_there() {
        let mut named = BTreeSet::new();
        for reference in between(text(INDEX), "?page=", "\"") {
            named.insert(reference);
        }
        assert!(named.contains("style.css") && named.contains("boot.js"), "{named:?}");
        named.extend(between(text("boot.js"), "import(new URL(\"page/", "\""));
        // The page of the API lies beside the folder of files, wherever that is.
        named.extend(between(text(DOCS), "=\"page/", "\""));
        assert!(named.contains("docs.css") && named.contains("docs.js"), "{named:?}");
        for file in FILES.iter().filter(|file| file.name.ends_with(".js")) {
            let imports: Vec<&str> = between(text(file.name), " from \"./", "\"").collect();
            assert_eq!(
                imports.len(),
                text(file.name).matches(" from \"").count(),
                "{} imports from elsewhere",
                file.name
            );
            named.extend(imports);
        }
        for name in &named {
            text(name);
        }
        let unused: Vec<&str> = FILES
            .iter()
            .map(|file| file.name)
            .filter(|name| ![INDEX, DOCS].contains(name) && !named.contains(name))
            .collect();
        assert!(unused.is_empty(), "nothing names {unused:?}");
    }

    #[test]
    fn the_page_is_light() {
        let total: usize = FILES.iter().map(|file| file.bytes.len()).sum();
        assert!(total < MAX_PAGE_BYTES, "the page has {total} bytes");
    }

    #[test]
    fn nothing_comes_from_elsewhere_and_nothing_is_inline() {
        for file in &FILES {
            let text = text(file.name).replace("http://www.w3.org/", "");
            assert!(!text.contains("http:") && !text.contains("https:") && !text.contains("//cdn"), "{}", file.name);
        }
        let index = text(INDEX);
        assert!(!index.contains("<style") && !index.contains(" style="), "the policy forbids inline styles");
        let docs = text(DOCS);
        assert!(!docs.contains("<style") && !docs.contains(" style=") && docs.matches("<script").count() == 1);
        let inline = between(index, "<script", ">").filter(|script| !script.contains(" src=")).collect::<Vec<_>>();
        assert_eq!(inline, [" type=\"application/json\" id=\"snapshot\""], "the policy forbids inline scripts");
    }

    #[test]
    fn a_ping_is_told_from_the_page() {
        for query in ["ping=true", "ping=True", "a=b&ping=1"] {
            assert!(is_ping(query), "{query}");
        }
        for query in ["", "ping=0", "page=style.css"] {
            assert!(!is_ping(query), "{query}");
        }
    }

    #[tokio::test]
    async fn files_are_named_by_path_and_by_query() {
        let ask = async |query: Option<&str>| show(RawQuery(query.map(str::to_owned)), HeaderMap::new()).await;
        let index = ask(None).await;
        assert_eq!(index.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(index.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(index.headers().contains_key(header::CONTENT_SECURITY_POLICY));
        assert!(!index.headers().contains_key(header::X_FRAME_OPTIONS), "the platform shows the page in a frame");
        let style = ask(Some("slyContext=%7B%7D&page=style.css")).await;
        assert_eq!(style.headers()[header::CONTENT_TYPE], "text/css; charset=utf-8");
        let script = file(Path("main.js".to_owned()), HeaderMap::new()).await;
        assert_eq!(script.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
        for name in ["nothing.js", "../page.rs", ""] {
            assert_eq!(file(Path(name.to_owned()), HeaderMap::new()).await.status(), StatusCode::NOT_FOUND, "{name}");
        }
    }

    #[tokio::test]
    async fn what_a_browser_has_is_not_sent_again() {
        let first = file(Path("main.js".to_owned()), HeaderMap::new()).await;
        let version = first.headers()[header::ETAG].clone();
        assert_ne!(version, show(RawQuery(None), HeaderMap::new()).await.headers()[header::ETAG]);
        let known = HeaderMap::from_iter([(header::IF_NONE_MATCH, version)]);
        assert_eq!(file(Path("main.js".to_owned()), known.clone()).await.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(file(Path("dom.js".to_owned()), known).await.status(), StatusCode::OK);
    }
}
