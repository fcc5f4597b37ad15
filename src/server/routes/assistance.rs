//! Questions about one picture, tracking for the labelling tool, and files that are fetched ahead.

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::super::envelope::Envelope;
use super::super::error::ApiError;
use super::super::form::UploadForm;
use super::super::openapi::{answers, requests};
use super::super::state::AppState;
use crate::supervisely::Token;

/// Shown to users; the words are the original's.
const PROMPT_INSTRUCTIONS: &str = "Possible prompts for Florence 2 image-to-text inference: '<CAPTION>', \
'<DETAILED_CAPTION>' and '<MORE_DETAILED_CAPTION>'. Input prompt affects granularity of generated image description.";

/// `POST /visual_question_answering`.
#[utoipa::path(
    post,
    path = "/visual_question_answering",
    tag = "Tools",
    summary = "One picture, one prompt, the model's own answer",
    request_body(content = requests::Envelope<requests::QuestionState>, example = json!({"state": {"image_id": 301, "text_prompt": "<CAPTION>"}})),
    responses((status = 200, description = "The answer.", body = answers::Answer))
)]
pub(in crate::server) async fn answer_question(
    State(app): State<AppState>,
    envelope: Envelope,
) -> Result<Json<Value>, ApiError> {
    app.served_model()?;
    let answer = app.session.answer_question(envelope.state()?, || envelope.platform(&app)).await?;
    Ok(Json(json!({ "answer": answer })))
}

/// `POST /get_prompt_instructions`.
#[utoipa::path(
    post,
    path = "/get_prompt_instructions",
    tag = "Tools",
    summary = "What prompts may say, for people",
    request_body = Option<requests::EmptyEnvelope>,
    responses((status = 200, description = "The text.", body = answers::Instructions))
)]
pub(in crate::server) async fn prompt_instructions(_: Envelope) -> Json<Value> {
    Json(json!({ "instructions": PROMPT_INSTRUCTIONS }))
}

/// `POST /tracking_by_detection`: the tool's context is laid over the state.
#[utoipa::path(
    post,
    path = "/tracking_by_detection",
    tag = "Tools",
    summary = "Tracks for the video labelling tool",
    request_body(content = requests::Envelope<requests::TrackingState>, example = json!({"state": {"videoId": 500, "trackId": "track", "frameIndex": 0, "framesCount": 2}})),
    responses((status = 200, description = "Tracking has begun; the tool is notified.", body = answers::Message))
)]
pub(in crate::server) async fn start_tracking(
    State(app): State<AppState>,
    envelope: Envelope,
) -> Result<Json<Value>, ApiError> {
    app.served_model()?;
    let mut state = envelope.state()?.clone();
    state.extend(envelope.context.clone());
    app.session.start_tracking(|| envelope.platform(&app), &state, envelope.hold())?;
    Ok(Json(json!({"message": "Track task started."})))
}

/// `POST /smart_cache`.
#[utoipa::path(
    post,
    path = "/smart_cache",
    tag = "Tools",
    summary = "Fetch pictures that will be needed soon",
    request_body(content = requests::Envelope<requests::CacheState>, example = json!({"state": {"image_ids": [301, 302]}})),
    responses((status = 200, description = "Fetching has begun.", body = answers::Message))
)]
pub(in crate::server) async fn start_caching(
    State(app): State<AppState>,
    envelope: Envelope,
) -> Result<Json<Value>, ApiError> {
    let state = envelope.state()?;
    // Here the state may name the platform and the token as well.
    let (token, address) = named_in(state);
    let token = token.or_else(|| envelope.token.clone());
    let address = address.or(envelope.server_address.as_deref());
    app.session.start_caching(|| Ok(app.session.platform(token, address)?), state)?;
    Ok(cache_started())
}

/// `POST /smart_cache_files`.
#[utoipa::path(
    post,
    path = "/smart_cache_files",
    tag = "Tools",
    summary = "Upload pictures that will be needed soon",
    request_body(content = requests::Upload, content_type = "multipart/form-data"),
    responses((status = 200, description = "They are kept.", body = answers::Message))
)]
pub(in crate::server) async fn keep_files(
    State(app): State<AppState>,
    form: UploadForm,
) -> Result<Json<Value>, ApiError> {
    let (token, address) = named_in(&form.state);
    let platform = app.session.platform(token, address)?;
    app.session.keep_files(&platform, form.files).await;
    Ok(cache_started())
}

fn cache_started() -> Json<Value> {
    Json(json!({"message": "Cache task started."}))
}

fn named_in(state: &Map<String, Value>) -> (Option<Token>, Option<&str>) {
    let text = |key| state.get(key).and_then(Value::as_str);
    (text("api_token").and_then(Token::new), text("server_address"))
}
