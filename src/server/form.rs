//! The upload form: pictures in repeated parts `files`, arguments in the text parts `state` and `settings`.
//!
//! A form that breaks a limit is read to its end all the same, without keeping it: most clients look for an answer
//! only after they have sent everything, and would see a broken connection instead.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use super::budget::Reservation;
use super::error::ApiError;
use super::limits::{MAX_FORM_BYTES, MAX_PARTS, MAX_PICTURE_BYTES, MAX_TEXT_BYTES};
use super::serve::is_too_slow;
use super::state::AppState;
use crate::session::Upload;

/// An upload form, read in full.
#[derive(Debug)]
pub(super) struct UploadForm {
    /// The files, at least one, in the caller's order.
    pub(super) files: Vec<Upload>,
    /// The arguments.
    pub(super) state: Map<String, Value>,
    /// Holds the files' bytes in the server's budget.
    pub(super) reservation: Reservation,
}

/// The parts that hold arguments.
#[derive(Debug, Default)]
pub(super) struct TextParts {
    state: String,
    settings: String,
    /// Told once the form was read to its end.
    refusal: Option<ApiError>,
}

/// The parts that were read so far.
struct FormReader {
    files: Vec<Upload>,
    texts: TextParts,
    reservation: Reservation,
    /// The first limit that was broken.
    refusal: Option<ApiError>,
}

impl FromRequest<AppState> for UploadForm {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        if !is_form(request.headers()) {
            return Err(ApiError::missing_files());
        }
        let mut form = Multipart::from_request(request, state)
            .await
            .map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
        let mut reader = FormReader::new(state.uploads.open());
        let mut parts = 0;
        while let Some(part) = form.next_field().await.map_err(broken_form)? {
            parts += 1;
            if parts > MAX_PARTS {
                reader.refuse(ApiError::too_large(format!("A form may have at most {MAX_PARTS} parts")));
            }
            reader.read_part(part).await?;
        }
        reader.finish()
    }
}

impl FormReader {
    fn new(reservation: Reservation) -> Self {
        Self { files: Vec::new(), texts: TextParts::default(), reservation, refusal: None }
    }

    async fn read_part(&mut self, part: Field<'_>) -> Result<(), ApiError> {
        match part.name() {
            Some("files") => {
                let name = part.file_name().unwrap_or_default().to_owned();
                let too_large = || format!("File {name:?} has more than {MAX_PICTURE_BYTES} bytes");
                let bytes = self.read_bytes(part, MAX_PICTURE_BYTES, too_large).await?;
                if self.refusal.is_none() {
                    self.files.push(Upload { name, bytes: Arc::new(bytes) });
                }
            }
            Some("state" | "settings") => self.texts.read(part).await?,
            _ => discard(part).await?,
        }
        Ok(())
    }

    /// Reads a part to its end; once anything was refused, its bytes are let go.
    async fn read_bytes(
        &mut self,
        mut part: Field<'_>,
        most: usize,
        too_large: impl Fn() -> String,
    ) -> Result<Vec<u8>, ApiError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = next_chunk(&mut part).await? {
            if self.refusal.is_none() && bytes.len() + chunk.len() > most {
                self.refuse(ApiError::too_large(too_large()));
            }
            if self.refusal.is_none() && !self.reservation.grow(chunk.len()) {
                self.refuse(ApiError::overloaded());
            }
            if self.refusal.is_none() {
                bytes.extend_from_slice(&chunk);
            } else {
                bytes = Vec::new();
            }
        }
        Ok(bytes)
    }

    /// Keeps the first refusal and frees what was read for nothing.
    fn refuse(&mut self, refusal: ApiError) {
        self.refusal.get_or_insert(refusal);
        self.files.clear();
    }

    fn finish(self) -> Result<UploadForm, ApiError> {
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        if self.files.is_empty() {
            return Err(ApiError::missing_files());
        }
        let state = self.texts.parse()?;
        Ok(UploadForm { files: self.files, state, reservation: self.reservation })
    }
}

impl TextParts {
    /// Reads a part to its end.
    pub(super) async fn read(&mut self, mut part: Field<'_>) -> Result<(), ApiError> {
        let is_state = part.name() == Some("state");
        let name = if is_state { "state" } else { "settings" };
        let mut bytes = Vec::new();
        let mut length = 0;
        while let Some(chunk) = next_chunk(&mut part).await? {
            length += chunk.len();
            if length <= MAX_TEXT_BYTES {
                bytes.extend_from_slice(&chunk);
            }
        }
        if length > MAX_TEXT_BYTES {
            self.refusal = Some(ApiError::too_large(format!("Part {name} has more than {MAX_TEXT_BYTES} bytes")));
            return Ok(());
        }
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| ApiError::bad_request_text(format!("Cannot decode {name}: not UTF-8")))?;
        *(if is_state { &mut self.state } else { &mut self.settings }) = text;
        Ok(())
    }

    /// The arguments.
    pub(super) fn parse(self) -> Result<Map<String, Value>, ApiError> {
        match self.refusal {
            Some(refusal) => Err(refusal),
            None => parse_state(&self.state, &self.settings),
        }
    }
}

/// Reads a part that nobody asked for, so that the next one can be read.
async fn discard(mut part: Field<'_>) -> Result<(), ApiError> {
    while next_chunk(&mut part).await?.is_some() {}
    Ok(())
}

/// The next bytes of a part.
pub(super) async fn next_chunk(part: &mut Field<'_>) -> Result<Option<Bytes>, ApiError> {
    part.chunk().await.map_err(broken_form)
}

/// `state` holds the arguments unless it is empty or `{}`; then `settings` does.
fn parse_state(state: &str, settings: &str) -> Result<Map<String, Value>, ApiError> {
    let text = match state {
        "" | "{}" => settings,
        state => state,
    };
    if text.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(state)) => Ok(state),
        Ok(_) => Err(ApiError::bad_request_text("Settings is not json object")),
        Err(error) => Err(ApiError::bad_request_text(format!("Cannot decode settings: {error}"))),
    }
}

pub(super) fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("multipart/form-data"))
}

pub(super) fn broken_form(error: MultipartError) -> ApiError {
    match error.status() {
        _ if is_too_slow(&error) => ApiError::timed_out("The upload came too slowly"),
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::too_large(format!("An upload may have at most {MAX_FORM_BYTES} bytes"))
        }
        _ => ApiError::bad_request(format!("Cannot read the form: {}", error.body_text())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(state: &str, settings: &str) -> Value {
        Value::Object(parse_state(state, settings).unwrap())
    }

    #[test]
    fn the_state_goes_before_the_settings_unless_it_is_empty() {
        assert_eq!(parse(r#"{"a": 1}"#, r#"{"b": 1}"#), json!({"a": 1}));
        assert_eq!(parse("{}", r#"{"b": 1}"#), json!({"b": 1}));
        assert_eq!(parse("", r#"{"b": 1}"#), json!({"b": 1}));
        assert_eq!(parse("", ""), json!({}));
        assert_eq!(parse("{ }", r#"{"b": 1}"#), json!({}), "only exactly {{}} gives way");
    }

    #[test]
    fn arguments_must_be_a_json_object() {
        assert_eq!(parse_state("[1, 2]", ""), Err(ApiError::bad_request_text("Settings is not json object")));
        assert_eq!(parse_state("", "null"), Err(ApiError::bad_request_text("Settings is not json object")));
        assert!(parse_state("", "{oops").is_err());
    }
}
