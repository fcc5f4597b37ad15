//! Visual question answering: one picture, one prompt, and the model's own answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;

use super::inquiry::Turn;
use super::pictures::{FileBytes, look_up_images};
use super::{Session, SessionError, in_time};
use crate::engine::{Request, Stage};
use crate::florence::generation::GenerationOptions;
use crate::supervisely::{Platform, SettingsError};

/// Where the picture is.
enum Source {
    Platform(i64),
    Path(PathBuf),
    Encoded(String),
}

impl Source {
    /// The first of the original's three ways that the caller used.
    fn parse(state: &Map<String, Value>) -> Result<Self, SessionError> {
        let given = |key: &str| state.get(key).filter(|value| !value.is_null());
        let wrong = |key: &str, expected: &'static str, value: &Value| {
            SessionError::Settings(SettingsError::invalid(key, expected, value))
        };
        if let Some(id) = given("image_id") {
            return id.as_i64().map(Self::Platform).ok_or_else(|| wrong("image_id", "a number", id));
        }
        if let Some(path) = given("image_path") {
            let text = path.as_str().ok_or_else(|| wrong("image_path", "a path", path))?;
            return Ok(Self::Path(PathBuf::from(text)));
        }
        let encoded = given("image_encoding").ok_or(SessionError::NoPictureToAskAbout)?;
        let text = encoded.as_str().ok_or_else(|| wrong("image_encoding", "a picture file in base64", encoded))?;
        Ok(Self::Encoded(text.to_owned()))
    }
}

impl Session {
    /// Asks about one picture. The prompt goes to the model as it is, and a task at its beginning decides how the answer is
    /// read. `platform` is asked for only if the picture is there.
    ///
    /// # Errors
    /// Whatever is wrong with the arguments or the picture.
    pub async fn answer_question(
        &self,
        state: &Map<String, Value>,
        platform: impl FnOnce() -> Result<Platform, SessionError>,
    ) -> Result<Value, SessionError> {
        let prompt = match state.get("text_prompt") {
            Some(Value::String(prompt)) => prompt.clone(),
            None | Some(Value::Null) => return Err(SettingsError::Missing { key: "text_prompt" }.into()),
            Some(other) => return Err(SettingsError::invalid("text_prompt", "a string", other).into()),
        };
        let source = Source::parse(state)?;
        let deadline = Instant::now() + self.deadline;
        let platform = match source {
            Source::Platform(_) => Some(platform()?),
            _ => None,
        };
        in_time(deadline, Stage::Waiting, async {
            let (name, file) = self.question_picture(source, platform).await?;
            let place = self.engine.places().take_single(self.decoder.decoded_bytes(&file))?;
            let picture = self.decoder.decode_file(file).await.map_err(|error| error.named(&name))?;
            let turn = Turn { engine: self.engine.as_ref(), place, deadline: Some(deadline) };
            let request = Request {
                picture,
                prompts: vec![prompt],
                options: GenerationOptions::default(),
                deadline: turn.deadline,
                place: Arc::clone(&turn.place),
                settings: Arc::new(state.clone()),
            };
            let reply = turn.engine.infer(request).await?.pop();
            let reply = reply.ok_or_else(|| SessionError::Internal("a prompt without a reply".to_owned()))?;
            Ok(reply.answer.to_json())
        })
        .await
    }

    async fn question_picture(
        &self,
        source: Source,
        platform: Option<Platform>,
    ) -> Result<(String, FileBytes), SessionError> {
        match (source, platform) {
            (Source::Platform(id), Some(platform)) => {
                let images = look_up_images(&platform, &[id]).await?;
                let image = images.first().ok_or(SessionError::UnknownImage { id })?;
                Ok((image.record.name.clone(), self.store.image(&platform, &image.record).await?))
            }
            (Source::Encoded(text), _) => {
                // Encoders like to break lines.
                let bytes = spawn_blocking(move || {
                    STANDARD.decode(text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect::<Vec<_>>())
                })
                .await;
                let bytes = bytes.map_err(|_| SessionError::Internal("decoding was cut off".to_owned()))?;
                let bytes = bytes.map_err(|error| SessionError::Unreadable {
                    name: "image_encoding".to_owned(),
                    reason: format!("it is not base64: {error}"),
                })?;
                Ok(("image_encoding".to_owned(), Arc::new(bytes)))
            }
            (Source::Path(path), _) => {
                let root = self.picture_folder.clone().ok_or(SessionError::NoSuchPath)?;
                let most = self.max_picture_bytes;
                let read = spawn_blocking(move || read_inside(root, path, most)).await;
                read.ok()
                    .flatten()
                    .map(|bytes| ("image_path".to_owned(), Arc::new(bytes)))
                    .ok_or(SessionError::NoSuchPath)
            }
            (Source::Platform(_), None) => Err(SessionError::NoPictureToAskAbout),
        }
    }
}

/// A file inside the folder, links followed. Nothing tells a caller whether there is one outside.
fn read_inside(root: PathBuf, path: PathBuf, max_bytes: usize) -> Option<Vec<u8>> {
    let root = root.canonicalize().ok()?;
    let path = root.join(path).canonicalize().ok()?;
    if !path.starts_with(&root) {
        return None;
    }
    let length = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?.len();
    if length > max_bytes as u64 {
        return None;
    }
    std::fs::read(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_inside_the_folder_are_read() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), b"secret").unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.png"), b"inside").unwrap();
        let read = |path: PathBuf| read_inside(folder.path().to_owned(), path, 100);
        assert_eq!(read("a.png".into()).as_deref(), Some(&b"inside"[..]));
        assert_eq!(read("./x/../a.png".into()), None, "x is not there");
        assert_eq!(read(folder.path().join("a.png")).as_deref(), Some(&b"inside"[..]));
        let name = outside.path().file_name().unwrap().to_owned();
        assert_eq!(read(outside.path().join("secret")), None);
        assert_eq!(read(PathBuf::from("..").join(name).join("secret")), None);
        assert_eq!(read("/etc/passwd".into()), None);
        assert_eq!(read("".into()), None, "a folder");
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(outside.path().join("secret"), folder.path().join("link")).unwrap();
            assert_eq!(read("link".into()), None);
        }
        assert_eq!(read_inside(folder.path().to_owned(), "a.png".into(), 3), None, "too large");
    }
}
