//! Many pictures on their way through the model: loaded ahead of it, predicted, and handed over behind it, all at once.
//!
//! Each stage runs ahead of the next by a bounded number of pictures. What fails for one picture is that picture's result.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, FuturesOrdered, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::super::inquiry::{Inquiry, Turn};
use super::super::labels::Findings;
use super::super::pictures::FileBytes;
use super::super::{Session, SessionError};
use super::FileShare;
use crate::engine::{Place, Run};
use crate::florence::image::Picture;
use crate::supervisely::{ClassRegistry, ImageSize, Origin, Prediction, Rectangle};
use crate::tracking::GreyFrame;

/// Loads of pictures that may be under way, and that may wait for the model.
const LOADS_AT_A_TIME: usize = 16;
const LOADED_AHEAD: usize = 16;
/// Predictions that may wait to be handed over.
const PREDICTED_AHEAD: usize = 64;
/// How long predictions wait for others to be handed over with.
const GATHERING: Duration = Duration::from_millis(500);
/// Predictions that are handed over together.
const DELIVERED_TOGETHER: usize = 32;

/// A picture that is to be predicted.
#[derive(Debug)]
pub(in crate::session) struct Input {
    /// Where it comes from.
    pub(in crate::session) origin: Origin,
    /// Its size as far as it is known without decoding it.
    pub(in crate::session) size: ImageSize,
    /// The part of it to look at.
    pub(in crate::session) region: Option<Rectangle>,
    /// The picture, or why there is none.
    pub(in crate::session) content: Result<Content, SessionError>,
}

/// A picture's content, with its share of what may be held.
#[derive(Debug)]
pub(in crate::session) enum Content {
    /// A file.
    File(FileBytes, Option<FileShare>),
    /// Pixels.
    Picture(Arc<Picture>, Option<FileShare>),
}

/// Pictures that are loaded together.
pub(in crate::session) type Load<'a> = BoxFuture<'a, Vec<Input>>;

/// A picture that was predicted, or not.
#[derive(Debug)]
pub(in crate::session) struct Predicted {
    pub(in crate::session) origin: Origin,
    pub(in crate::session) size: ImageSize,
    pub(in crate::session) result: Result<Findings, SessionError>,
    /// What a tracker sees of it, where there is one.
    pub(in crate::session) grey: Option<GreyFrame>,
}

impl Predicted {
    /// The answer for clients.
    pub(in crate::session) fn into_prediction(self) -> Prediction {
        match self.result {
            Ok(Findings { annotation, notes }) => Prediction::new(annotation, notes, self.origin),
            Err(error) => Prediction::failed(self.size, self.origin, error.to_string()),
        }
    }
}

/// What a run does with predictions, in their order.
pub(in crate::session) trait Sink: Send {
    /// How many it would like to have together. It gets fewer when no more come within a moment.
    fn gathers(&self) -> usize {
        1
    }

    /// Takes some. An error ends the run.
    fn deliver(&mut self, predicted: Vec<Predicted>) -> impl Future<Output = Result<(), SessionError>> + Send;
}

/// How a run goes through the model.
pub(in crate::session) struct Course {
    pub(in crate::session) inquiry: Arc<Inquiry>,
    pub(in crate::session) run: Run,
    /// Pictures with the model at a time.
    pub(in crate::session) width: usize,
    /// Told when nothing more is wanted.
    pub(in crate::session) stop: CancellationToken,
    /// Whether a tracker will look at the pictures as well.
    pub(in crate::session) is_tracked: bool,
}

impl Session {
    /// Predicts every input and hands the results to the sink, in order. When it is stopped, what is predicted by then is
    /// still handed over.
    ///
    /// # Errors
    /// The sink's, one that concerns more than a picture, or that of the first picture if every one failed.
    pub(in crate::session) async fn predict_all<'a>(
        &self,
        loads: impl Stream<Item = Load<'a>> + Send,
        course: &Course,
        sink: &mut impl Sink,
    ) -> Result<(), SessionError> {
        // Also told when the run fails, so that the other stages end.
        let stop = course.stop.child_token();
        let (loaded, to_predict) = mpsc::channel(LOADED_AHEAD);
        let (predicted, to_deliver) = mpsc::channel(PREDICTED_AHEAD);
        let deliver = async {
            let result = deliver_all(to_deliver, sink, &self.classes, &course.stop).await;
            // If it ended early, the others have nobody to work for.
            stop.cancel();
            result
        };
        let load = load_all(loads, loaded, &stop);
        let ((), (), result) = tokio::join!(load, self.predict_loaded(to_predict, predicted, (course, &stop)), deliver);
        result
    }

    async fn predict_loaded(
        &self,
        loaded: mpsc::Receiver<Vec<Input>>,
        target: mpsc::Sender<Predicted>,
        (course, stop): (&Course, &CancellationToken),
    ) {
        let predict = |input| {
            let target = target.clone();
            async move {
                let slot = target.reserve_owned().await.ok()?;
                Some((slot, self.predict_input(input, course, stop.clone()).await?))
            }
        };
        hand_on(received(loaded).flat_map(stream::iter).map(predict).buffered(course.width.max(1))).await;
    }

    /// Nothing once the run is stopped; a picture that the model is busy with is taken back from it.
    async fn predict_input(&self, input: Input, course: &Course, stop: CancellationToken) -> Option<Predicted> {
        let Input { origin, size, region, content } = input;
        let name = origin.name.clone();
        let mut grey = None;
        let work = async {
            let (place, picture, _share) = self.take_picture(content?, course).await?;
            grey = course.is_tracked.then(|| GreyFrame::of(&picture));
            let turn = Turn { engine: self.engine.as_ref(), place, deadline: None };
            self.look_at(&turn, picture, region, &course.inquiry).await
        };
        let result = stop.run_until_cancelled(work).await?.map_err(|error| match &name {
            Some(name) => error.named(name),
            None => error,
        });
        if result.as_ref().is_err_and(|error| !error.is_of_one_picture()) {
            // The others would fail as well.
            stop.cancel();
        }
        Some(Predicted { origin, size, result, grey })
    }

    /// A place with the model and then the pixels, which wait for nobody else once they are there.
    async fn take_picture(
        &self,
        content: Content,
        course: &Course,
    ) -> Result<(Arc<Place>, Arc<Picture>, Option<FileShare>), SessionError> {
        let bytes = match &content {
            Content::File(bytes, _) => self.decoder.decoded_bytes(bytes),
            Content::Picture(picture, _) => picture.rgb().len() as u64,
        };
        let place = self.engine.places().wait_in_run(course.run, bytes).await?;
        // A file's room is free once it is pixels, which its place counts.
        let (picture, share) = match content {
            Content::File(bytes, _room) => (self.decoder.decode_file(bytes).await?, None),
            Content::Picture(picture, share) => (picture, share),
        };
        Ok((place, picture, share))
    }
}

/// Begins loads in their order, a few at a time, and hands on what they give in the same order.
async fn load_all<'a>(
    loads: impl Stream<Item = Load<'a>> + Send,
    target: mpsc::Sender<Vec<Input>>,
    stop: &CancellationToken,
) {
    let mut loads = std::pin::pin!(loads);
    let mut under_way = FuturesOrdered::new();
    let mut has_more = true;
    while has_more || !under_way.is_empty() {
        tokio::select! {
            next = loads.next(), if has_more && under_way.len() < LOADS_AT_A_TIME => match next {
                Some(load) => under_way.push_back(load_one(load, target.clone(), stop.clone())),
                None => has_more = false,
            },
            Some(loaded) = under_way.next() => {
                if let Some((slot, inputs)) = loaded {
                    slot.send(inputs);
                }
            },
            () = stop.cancelled(), if has_more => has_more = false,
        }
    }
}

async fn load_one(
    load: Load<'_>,
    target: mpsc::Sender<Vec<Input>>,
    stop: CancellationToken,
) -> Option<(mpsc::OwnedPermit<Vec<Input>>, Vec<Input>)> {
    let slot = target.reserve_owned().await.ok()?;
    Some((slot, stop.run_until_cancelled(load).await?))
}

/// Puts everything where its place is. Whatever was begun has a place, so that nothing which holds a lock, a turn or memory ever
/// stands still because its consumer does.
async fn hand_on<T: Send>(items: impl Stream<Item = Option<(mpsc::OwnedPermit<T>, T)>> + Send) {
    let mut items = std::pin::pin!(items);
    while let Some(item) = items.next().await {
        if let Some((slot, item)) = item {
            slot.send(item);
        }
    }
}

fn received<T: Send>(receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> + Send {
    futures_util::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)))
}

/// Takes what is there, and waits a moment for more if that is too little. False when nothing will come any more.
async fn gather(predicted: &mut mpsc::Receiver<Predicted>, together: &mut Vec<Predicted>, wanted: usize) -> bool {
    if predicted.recv_many(together, DELIVERED_TOGETHER).await == 0 {
        return false;
    }
    let end = Instant::now() + GATHERING;
    while together.len() < wanted {
        let room = DELIVERED_TOGETHER - together.len().min(DELIVERED_TOGETHER - 1);
        match timeout_at(end, predicted.recv_many(together, room)).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    true
}

async fn deliver_all(
    mut predicted: mpsc::Receiver<Predicted>,
    sink: &mut impl Sink,
    classes: &ClassRegistry,
    stop: &CancellationToken,
) -> Result<(), SessionError> {
    // Failures are held back until something succeeds: if nothing does, the run fails instead of its pictures.
    let mut failed = Vec::new();
    let mut has_succeeded = false;
    let mut together = Vec::new();
    while gather(&mut predicted, &mut together, sink.gathers()).await {
        let mut ready = Vec::new();
        for one in together.drain(..) {
            // Here and not when it was found: the order of the classes is that of the pictures.
            classes.register_all(one.result.as_ref().ok().map(|findings| &findings.annotation));
            match &one.result {
                Err(error) if !error.is_of_one_picture() => {
                    let error = error.clone();
                    ready.append(&mut failed);
                    sink.deliver(ready).await?;
                    return Err(error);
                }
                Err(_) if !has_succeeded => failed.push(one),
                result => {
                    has_succeeded |= result.is_ok();
                    ready.append(&mut failed);
                    ready.push(one);
                }
            }
        }
        if !ready.is_empty() {
            sink.deliver(ready).await?;
        }
    }
    if stop.is_cancelled() {
        // What would have become of the others nobody knows.
        return sink.deliver(failed).await;
    }
    match failed.into_iter().next() {
        Some(Predicted { result: Err(error), .. }) if !has_succeeded => Err(error),
        _ => Ok(()),
    }
}
