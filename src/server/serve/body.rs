//! The bodies of requests, which must come, and of answers, whose end is reported.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body as BoxBody;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::activity::Activity;
use super::pace::{Alarm, Pace};

/// Why the body of a request did not come to its end. A handler finds it among the sources of its own error.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client paused for too long, or sent too few bytes in a long time. Worth a 408.
    #[error("The request's body came too slowly")]
    TooSlow,
    /// The connection ended, or what came is no HTTP.
    #[error("The request's body broke off: {0}")]
    Broken(#[source] hyper::Error),
}

/// Whether an error was made by a body that came too slowly.
pub fn is_too_slow(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if matches!(error.downcast_ref(), Some(BodyError::TooSlow)) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A request's body. Waiting for more of it is limited.
#[derive(Debug)]
pub(super) struct RequestBody {
    body: Incoming,
    pace: Pace,
    alarm: Alarm,
    activity: Arc<Activity>,
    is_read: bool,
}

/// An answer's body. Dropping it, after its last byte was taken, ends the answer.
#[derive(Debug)]
pub(super) struct AnswerBody {
    body: BoxBody,
    activity: Arc<Activity>,
}

impl RequestBody {
    pub(super) fn new(body: Incoming, pace: Pace, activity: Arc<Activity>) -> Self {
        let is_read = body.is_end_stream();
        Self { body, pace, alarm: Alarm::default(), activity, is_read }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                this.pace.advance(Instant::now(), frame.data_ref().map_or(0, Bytes::len));
                this.is_read = this.body.is_end_stream();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(BodyError::Broken(error)))),
            Poll::Ready(None) => {
                this.is_read = true;
                Poll::Ready(None)
            }
            Poll::Pending => {
                this.pace.wait(Instant::now());
                ready!(this.alarm.poll(context, this.pace.deadline()));
                tracing::debug!("a request's body came too slowly");
                Poll::Ready(Some(Err(BodyError::TooSlow)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.is_read {
            self.activity.leave_body();
        }
    }
}

impl AnswerBody {
    pub(super) const fn new(body: BoxBody, activity: Arc<Activity>) -> Self {
        Self { body, activity }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.activity.end_answer();
    }
}
