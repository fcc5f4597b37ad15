//! The description of every route, made from the routes themselves: what is not described cannot be reached, because the
//! router is built from the same declarations.
//!
//! The modules below describe bodies that the handlers read key by key, or build key by key; bodies that have a type of their
//! own are described there.

pub(super) mod answers;
pub(super) mod requests;
pub(super) mod state;

use std::sync::LazyLock;

use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Response,
    ResponseBuilder, ServerBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use self::answers::ErrorBody;
use super::router::described_routes;

/// The groups of routes, in the order in which people look for them.
const TAGS: [(&str, &str); 8] = [
    ("Predictions", "Pictures and videos in, annotations out, while the caller waits."),
    (
        "Runs",
        "The same in the background. Each answers at once with `inference_request_uuid`, by which the routes of the queue \
         know the run.",
    ),
    ("Queue", "How far runs are, what they have found, and their end. Entries leave an hour after their last change."),
    ("Session", "What is served, what it can do, and what it has named so far."),
    ("Deployment", "Which model is served."),
    ("Tools", "Questions about a picture, tracking for the labelling tool, pictures that will be needed soon."),
    ("Health", "For the platform, load balancers and Prometheus."),
    ("App", "The page, what it asks, and what the platform's page shell asks."),
];

/// What holds for all routes.
const ABOUT: &str = "A Florence-2 inference server that speaks the inference-session protocol of the Supervisely platform.\n\n\
A `POST` takes the platform's envelope `{\"state\": {…}, \"context\": {…}, \"api_token\": …, \"server_address\": …}`, every part of \
which may be missing, unless it is an upload form. Keys that a route does not know are ignored.\n\n\
An error tells whose fault it is: 4xx is the caller's, 5xx is ours or the platform's. Routes that need a model answer 409 while \
there is none, and 503 with `Retry-After` while one is loading. A full queue is a 429 with `Retry-After`, a wait beyond the \
deadline a 504.";

/// Name of the answer that every failure has.
const FAILURE: &str = "Failure";

/// The document as text, for programs and people.
pub fn openapi_json() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        // Maps of texts always are JSON.
        let mut text = document().to_pretty_json().unwrap_or_default();
        text.push('\n');
        text
    });
    &TEXT
}

/// The routes' descriptions under one title.
fn document() -> OpenApi {
    let routes = described_routes().into_openapi();
    let mut paths = routes.paths;
    for (path, item) in &mut paths.paths {
        let has_both = item.get.is_some() && item.post.is_some();
        for (method, operation) in [("get", &mut item.get), ("post", &mut item.post)] {
            if let Some(operation) = operation {
                operation.operation_id = Some(operation_id(path, method, has_both));
                add_failure(operation);
            }
        }
    }
    let info = InfoBuilder::new()
        .title("Serve Florence-2")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(LicenseBuilder::new().name("MIT").identifier(Some("MIT")).build()));
    let tags = TAGS.map(|(name, about)| TagBuilder::new().name(name).description(Some(about)).build());
    // Beside this document, whatever prefix a proxy has put before both.
    let here = ServerBuilder::new().url(".").description(Some("This server")).build();
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([here]))
        .tags(Some(tags))
        .paths(paths)
        .components(Some(components(routes.components.unwrap_or_default())))
        .build()
}

/// The bodies that routes name, and the failure that all of them share.
fn components(mut components: Components) -> Components {
    let mut schemas: Vec<(String, RefOr<Schema>)> = vec![(ErrorBody::name().into_owned(), ErrorBody::schema())];
    ErrorBody::schemas(&mut schemas);
    components.schemas.extend(schemas);
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorBody::name()))).build();
    let failure = ResponseBuilder::new().description("It was not done.").content("application/json", content).build();
    components.responses.insert(FAILURE.to_owned(), RefOr::T(failure));
    components
}

/// A name for generated clients: the path's words.
fn operation_id(path: &str, method: &str, has_both: bool) -> String {
    let words: Vec<&str> = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let name = if words.is_empty() { "show_page".to_owned() } else { words.join("_") };
    if has_both { format!("{method}_{name}") } else { name }
}

/// Every route may fail, and says so in one form.
fn add_failure(operation: &mut Operation) {
    let failure: RefOr<Response> = RefOr::Ref(Ref::from_response_name(FAILURE));
    operation.responses.responses.insert("default".to_owned(), failure);
}
