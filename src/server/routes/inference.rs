//! Predictions that the caller waits for.

use axum::Json;
use axum::extract::State;

use super::super::error::ApiError;
use super::super::form::UploadForm;
use super::super::state::AppState;
use crate::supervisely::Prediction;

/// `POST /inference_image`: exactly one file, one prediction.
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
