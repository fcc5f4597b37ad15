//! Uploaded pictures that are predicted while their sender does something else.

use std::future::ready;
use std::sync::Arc;

use futures_util::{FutureExt, StreamExt, stream};
use serde_json::{Map, Value};

use super::super::{Session, SessionError, Upload, check_regions_count};
use super::{Answers, Content, Input, Load};
use crate::supervisely::{ImageSize, InferenceState, Origin};

impl Session {
    /// Starts a run over uploaded files and gives its id. `held` is kept until the run has ended.
    ///
    /// # Errors
    /// Whatever is wrong with the arguments; the rest is told by the request itself.
    pub fn start_uploads<H: Send + 'static>(
        self: &Arc<Self>,
        uploads: Vec<Upload>,
        state: &Map<String, Value>,
        held: H,
    ) -> Result<String, SessionError> {
        let state = InferenceState::parse(state)?;
        self.check_inquiry(&state)?;
        check_regions_count(&state.settings.regions, uploads.len())?;
        let session = Arc::clone(self);
        self.queue.start(move |request| async move {
            let _held = held;
            Self::begin_running(&request, uploads.len());
            let course = session.course(&state, &request)?;
            let inputs = uploads.into_iter().enumerate().map(|(index, upload)| Input {
                // Only for messages: an upload's prediction names no file.
                origin: Origin::default(),
                size: ImageSize { height: 0, width: 0 },
                region: state.settings.regions.of_picture(index),
                content: Ok(Content::File(upload.bytes, None)),
            });
            let loads = stream::iter(inputs).map(|input| Load::from(ready(vec![input]).boxed()));
            session.predict_all(loads, &course, &mut Answers { request }).await
        })
    }
}
