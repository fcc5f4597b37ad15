//! Predictions that the caller waits for, and the runs that it starts instead.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::super::envelope::Envelope;
use super::super::error::ApiError;
use super::super::form::UploadForm;
use super::super::openapi::{answers, requests};
use super::super::state::AppState;
use super::super::video_form::VideoForm;
use crate::session::VideoAnswer;
use crate::supervisely::{Prediction, SettingsError};

/// The original's words for runs over pictures, and over an uploaded video.
const SCHEDULED: &str = "Scheduled inference task.";
/// Its words for runs over projects, videos of the platform, and speed tests.
const STARTED: &str = "Inference has started.";

/// A run that was started.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::server) struct Started {
    message: &'static str,
    inference_request_uuid: String,
}

/// `POST /inference_image`: exactly one file, one prediction.
#[utoipa::path(
    post,
    path = "/inference_image",
    tag = "Predictions",
    summary = "One uploaded picture",
    request_body(content = requests::Upload, content_type = "multipart/form-data"),
    responses((status = 200, description = "What was found.", body = Prediction))
)]
pub(in crate::server) async fn infer_image(
    State(app): State<AppState>,
    form: UploadForm,
) -> Result<Json<Prediction>, ApiError> {
    if form.files.len() != 1 {
        return Err(ApiError::bad_request_text(format!("Only one file expected but got {}", form.files.len())));
    }
    let mut predictions = infer(&app, form).await?;
    predictions.pop().map(Json).ok_or_else(|| ApiError::internal("a picture without a prediction"))
}

/// `POST /inference_batch`: any number of files, their predictions in order.
#[utoipa::path(
    post,
    path = "/inference_batch",
    tag = "Predictions",
    summary = "Uploaded pictures, answered in order",
    request_body(content = requests::Upload, content_type = "multipart/form-data"),
    responses((status = 200, description = "One prediction a picture.", body = Vec<Prediction>))
)]
pub(in crate::server) async fn infer_batch(
    State(app): State<AppState>,
    form: UploadForm,
) -> Result<Json<Vec<Prediction>>, ApiError> {
    infer(&app, form).await.map(Json)
}

async fn infer(app: &AppState, form: UploadForm) -> Result<Vec<Prediction>, ApiError> {
    // Before any picture is decoded for nothing.
    app.served_model()?;
    let UploadForm { files, state, reservation: _held_until_answered } = form;
    Ok(app.session.infer_uploads(files, &state).await?)
}

/// `POST /inference_batch_async`.
#[utoipa::path(
    post,
    path = "/inference_batch_async",
    tag = "Runs",
    summary = "Uploaded pictures",
    request_body(content = requests::Upload, content_type = "multipart/form-data"),
    responses((status = 200, description = "The run has begun.", body = Started))
)]
pub(in crate::server) async fn start_batch(
    State(app): State<AppState>,
    form: UploadForm,
) -> Result<Json<Started>, ApiError> {
    app.served_model()?;
    let UploadForm { files, state, reservation } = form;
    let inference_request_uuid = app.session.start_uploads(files, &state, reservation)?;
    Ok(Json(Started { message: SCHEDULED, inference_request_uuid }))
}

/// `POST /inference_image_url`.
#[utoipa::path(
    post,
    path = "/inference_image_url",
    tag = "Predictions",
    summary = "A picture at a public address",
    request_body(content = requests::Envelope<requests::AddressState>, example = json!({"state": {"image_url": "https://example.com/street.jpg", "settings": {"task_prompt": "<CAPTION_TO_PHRASE_GROUNDING>", "text": "a red circle"}}})),
    responses((status = 200, description = "What was found.", body = Prediction))
)]
pub(in crate::server) async fn infer_url(
    State(app): State<AppState>,
    envelope: Envelope,
) -> Result<Json<Prediction>, ApiError> {
    app.served_model()?;
    let state = envelope.state()?;
    let url = match state.get("image_url") {
        Some(Value::String(url)) => url,
        None | Some(Value::Null) => return Err(SettingsError::Missing { key: "image_url" }.into()),
        Some(other) => return Err(SettingsError::invalid("image_url", "an address", other).into()),
    };
    Ok(Json(app.session.infer_url(url, state).await?))
}

/// `POST /inference_image_id`: the first picture that is named.
#[utoipa::path(
    post,
    path = "/inference_image_id",
    tag = "Predictions",
    summary = "A picture of the platform",
    request_body(content = requests::Envelope<requests::PictureState>, example = json!({"state": {"image_id": 301, "settings": {"task_prompt": "<CAPTION_TO_PHRASE_GROUNDING>", "text": "a red circle"}}})),
    responses((status = 200, description = "What was found.", body = Prediction))
)]
pub(in crate::server) async fn infer_image_id(
    State(app): State<AppState>,
    envelope: Envelope,
) -> Result<Json<Box<RawValue>>, ApiError> {
    app.served_model()?;
    let state = envelope.state()?;
    Ok(Json(app.session.infer_image_id(|| envelope.platform(&app), state).await?))
}

/// `POST /inference_batch_ids`.
#[utoipa::path(
    post,
    path = "/inference_batch_ids",
    tag = "Predictions",
    summary = "Pictures of the platform, answered in order",
    request_body(content = requests::Envelope<requests::PicturesState>, example = json!({"state": {"batch_ids": [301, 302], "settings": {"task_prompt": "<CAPTION_TO_PHRASE_GROUNDING>", "text": "a red circle"}}})),
    responses((status = 200, description = "One prediction a picture. One that cannot be read has an empty annotation and `error`.", body = Vec<Prediction>))
)]
pub(in crate::server) async fn infer_image_ids(
    State(app): State<AppState>,
    envelope: Envelope,
) -> Result<Json<Vec<Box<RawValue>>>, ApiError> {
    app.served_model()?;
    let state = envelope.state()?;
    Ok(Json(app.session.infer_image_ids(|| envelope.platform(&app), state).await?))
}

/// `POST /inference_image_id_async`.
#[utoipa::path(
    post,
    path = "/inference_image_id_async",
    tag = "Runs",
    summary = "Pictures of the platform",
    request_body(content = requests::Envelope<requests::PicturesState>, example = json!({"state": {"batch_ids": [301, 302], "settings": {"task_prompt": "<CAPTION_TO_PHRASE_GROUNDING>", "text": "a red circle"}}})),
    responses((status = 200, description = "The run has begun.", body = Started))
)]
pub(in crate::server) async fn start_image_ids(
    State(app): State<AppState>,
    envelope: Envelope,
) -> Result<Json<Started>, ApiError> {
    app.served_model()?;
    let inference_request_uuid =
        app.session.start_image_ids(|| envelope.platform(&app), envelope.state()?, envelope.hold())?;
    Ok(Json(Started { message: SCHEDULED, inference_request_uuid }))
}

/// `POST /inference_batch_ids_async`: the same under another name.
#[utoipa::path(
    post,
    path = "/inference_batch_ids_async",
    tag = "Runs",
    summary = "Pictures of the platform, under another name",
    request_body(content = requests::Envelope<requests::PicturesState>, example = json!({"state": {"batch_ids": [301, 302], "settings": {"task_prompt": "<CAPTION_TO_PHRASE_GROUNDING>", "text": "a red circle"}}})),
    responses((status = 200, description = "The run has begun.", body = Started))
)]
pub(in crate::server) async fn start_batch_ids(
    app: State<AppState>,
    envelope: Envelope,
) -> Result<Json<Started>, ApiError> {
    start_image_ids(app, envelope).await
}

/// `POST /inference_project_id_async`.
#[utoipa::path(
    post,
    path = "/inference_project_id_async",
    tag = "Runs",
    summary = "A project or some of its datasets",
    request_body(content = requests::Envelope<requests::ProjectState>, example = json!({"state": {"projectId": 100, "dataset_ids": [200], "settings": {"task_prompt": "<CAPTION_TO_PHRASE_GROUNDING>", "text": "a red circle"}}})),
    responses((status = 200, description = "The run has begun.", body = Started))
)]
pub(in crate::server) async fn start_project(
    State(app): State<AppState>,
    envelope: Envelope,
) -> Result<Json<Started>, ApiError> {
    app.served_model()?;
    let inference_request_uuid =
        app.session.start_project(|| envelope.platform(&app), envelope.state()?, envelope.hold())?;
    Ok(Json(Started { message: STARTED, inference_request_uuid }))
}

/// `POST /run_speedtest`.
#[utoipa::path(
    post,
    path = "/run_speedtest",
    tag = "Runs",
    summary = "How long batches of a project take",
    request_body(content = requests::Envelope<requests::SpeedTestState>, example = json!({"state": {"projectId": 100, "batch_size": 2, "num_iterations": 3, "num_warmup": 1}})),
    responses((status = 200, description = "The run has begun.", body = Started))
)]
pub(in crate::server) async fn start_speed_test(
    State(app): State<AppState>,
    envelope: Envelope,
) -> Result<Json<Started>, ApiError> {
    app.served_model()?;
    let inference_request_uuid =
        app.session.start_speed_test(|| envelope.platform(&app), envelope.state()?, envelope.hold()).await?;
    Ok(Json(Started { message: STARTED, inference_request_uuid }))
}

/// `POST /inference_video_id`.
#[utoipa::path(
    post,
    path = "/inference_video_id",
    tag = "Predictions",
    summary = "Frames of a video of the platform",
    request_body(content = requests::Envelope<requests::VideoState>, example = json!({"state": {"videoId": 500, "startFrameIndex": 0, "framesCount": 2, "settings": {"task_prompt": "<CAPTION_TO_PHRASE_GROUNDING>", "text": "a red circle"}}})),
    responses((status = 200, description = "What was found on each frame.", body = answers::VideoAnswerBody))
)]
pub(in crate::server) async fn infer_video(
    State(app): State<AppState>,
    envelope: Envelope,
) -> Result<Json<VideoAnswer>, ApiError> {
    app.served_model()?;
    Ok(Json(app.session.infer_video(|| envelope.platform(&app), envelope.state()?).await?))
}

/// `POST /inference_video_id_async`.
#[utoipa::path(
    post,
    path = "/inference_video_id_async",
    tag = "Runs",
    summary = "Frames of a video of the platform",
    request_body(content = requests::Envelope<requests::VideoState>, example = json!({"state": {"videoId": 500, "startFrameIndex": 0, "framesCount": 2, "tracker": "botsort", "settings": {"task_prompt": "<CAPTION_TO_PHRASE_GROUNDING>", "text": "a red circle"}}})),
    responses((status = 200, description = "The run has begun.", body = Started))
)]
pub(in crate::server) async fn start_video(
    State(app): State<AppState>,
    envelope: Envelope,
) -> Result<Json<Started>, ApiError> {
    app.served_model()?;
    let inference_request_uuid =
        app.session.start_video(|| envelope.platform(&app), envelope.state()?, envelope.hold())?;
    Ok(Json(Started { message: STARTED, inference_request_uuid }))
}

/// `POST /inference_video_async`.
#[utoipa::path(
    post,
    path = "/inference_video_async",
    tag = "Runs",
    summary = "Frames of an uploaded video; 501 without ffmpeg",
    request_body(content = requests::VideoUpload, content_type = "multipart/form-data"),
    responses((status = 200, description = "The run has begun.", body = Started))
)]
pub(in crate::server) async fn start_video_upload(
    State(app): State<AppState>,
    form: VideoForm,
) -> Result<Json<Started>, ApiError> {
    let VideoForm { file, state, reservation } = form;
    let inference_request_uuid = app.session.start_video_upload(file, &state, reservation)?;
    Ok(Json(Started { message: SCHEDULED, inference_request_uuid }))
}
