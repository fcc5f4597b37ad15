//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::http::{Request, Response, StatusCode, Uri};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tower::ServiceExt;

use super::activity::Activity;
use super::body::{AnswerBody, RequestBody};
use super::limits::ConnectionLimits;
use super::pace::Alarm;
use super::stream::ClientStream;

/// Answers the requests of one client until it leaves, takes too long, or the server stops.
///
/// Whatever is under way then is dropped, which is how a handler learns that nobody waits for it any more.
pub(super) async fn serve_connection(
    stream: TcpStream,
    router: Router,
    limits: ConnectionLimits,
    mut stopping: watch::Receiver<bool>,
) {
    // Answers are written in one go; waiting to fill a packet would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot switch off packet delay");
    }
    let activity = Arc::new(Activity::new(limits));
    let stream = TokioIo::new(ClientStream::new(stream, Arc::clone(&activity)));
    let service = service_fn(|request| answer(request, &router, limits, &activity));
    // hyper's own time-out stays off without a timer; `activity` has better ones.
    let connection = http1::Builder::new()
        .max_headers(limits.max_headers)
        .max_header_size(limits.max_header_bytes)
        .serve_connection(stream, service);
    let mut connection = pin!(connection);
    let mut alarm = Alarm::default();
    let mut is_stopping = false;
    loop {
        // In this order, because what the connection does changes the deadline.
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke");
                }
                return;
            }
            () = poll_fn(|context| alarm.poll(context, activity.deadline())) => {
                tracing::debug!(reason = activity.describe_delay(), "a client took too long");
                return;
            }
            // An error says that the server is gone, which is a stop as well.
            _ = stopping.wait_for(|stopping| *stopping), if !is_stopping => {
                is_stopping = true;
                if activity.awaits_request() {
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Asks the router, and keeps track of the request and the answer.
fn answer(
    request: Request<Incoming>,
    router: &Router,
    limits: ConnectionLimits,
    activity: &Arc<Activity>,
) -> impl Future<Output = Result<Response<AnswerBody>, Infallible>> + use<> {
    activity.begin_request();
    let is_too_long = uri_bytes(request.uri()) > limits.max_uri_bytes;
    let request = request.map(|body| RequestBody::new(body, limits.body_pace(), Arc::clone(activity)));
    let router = router.clone();
    let activity = Arc::clone(activity);
    async move {
        let response =
            if is_too_long { StatusCode::URI_TOO_LONG.into_response() } else { router.oneshot(request).await? };
        Ok(response.map(|body| AnswerBody::new(body, activity)))
    }
}

fn uri_bytes(uri: &Uri) -> usize {
    uri.path_and_query().map_or(0, |path| path.as_str().len())
}
