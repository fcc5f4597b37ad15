//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;
use tower::ServiceExt;

use super::Course;
use super::activity::Activity;
use super::body::{AnswerBody, RequestBody};
use super::limits::ConnectionLimits;
use super::pace::Alarm;
use super::stream::ClientStream;

/// How long a connection on which nothing is under way is still listened to at the end: a request may be on its way.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Answers the requests of one client until it leaves, takes too long, or the server stops.
///
/// Whatever is under way then is dropped, which is how a handler learns that nobody waits for it any more.
pub(super) async fn serve_connection(
    stream: TcpStream,
    router: Router,
    limits: ConnectionLimits,
    mut course: watch::Receiver<Course>,
) {
    // Answers are written in one go; waiting to fill a packet would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot switch off packet delay");
    }
    let activity = Arc::new(Activity::new(limits));
    let stream = TokioIo::new(ClientStream::new(stream, Arc::clone(&activity)));
    let followed = course.clone();
    let service = service_fn(|request| answer(request, &router, &activity, &followed));
    // hyper's own time-out stays off without a timer; `activity` has better ones.
    let connection = http1::Builder::new()
        .max_headers(limits.max_headers)
        .max_header_size(limits.max_header_bytes)
        .serve_connection(stream, service);
    let mut connection = pin!(connection);
    let mut alarm = Alarm::default();
    let ending = async {
        // An error says that the server is gone, which is an end as well.
        let _ = course.wait_for(|course| *course == Course::Ending).await;
        sleep(LAST_WORDS).await;
    };
    let mut ending = pin!(ending);
    let mut is_ending = false;
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
            () = ending.as_mut(), if !is_ending => {
                is_ending = true;
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
    activity: &Arc<Activity>,
    course: &watch::Receiver<Course>,
) -> impl Future<Output = Result<Response<AnswerBody>, Infallible>> + use<> {
    activity.begin_request();
    let limits = activity.limits();
    let is_too_long = uri_bytes(request.uri()) > limits.max_uri_bytes;
    let request = request.map(|body| RequestBody::new(body, limits.body_pace(), Arc::clone(activity)));
    let router = router.clone();
    let (activity, course) = (Arc::clone(activity), course.clone());
    async move {
        let mut response =
            if is_too_long { StatusCode::URI_TOO_LONG.into_response() } else { router.oneshot(request).await? };
        if *course.borrow() != Course::Serving {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| AnswerBody::new(body, activity)))
    }
}

fn uri_bytes(uri: &Uri) -> usize {
    uri.path_and_query().map_or(0, |path| path.as_str().len())
}
