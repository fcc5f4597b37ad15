//! Accepting connections until told to stop.
//!
//! Anybody may connect, so nobody may hold a connection by being slow: whatever the server waits for a client to do has a
//! limit of [`ConnectionLimits`]. What the server itself takes to answer is not limited here.

mod accept;
mod activity;
mod body;
mod connection;
mod limits;
mod pace;
mod stream;

use std::future::Future;
use std::io;
use std::pin::pin;

use axum::Router;
use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use accept::{AcceptFailures, accept};
pub use body::BodyError;
pub(super) use body::is_too_slow;
use connection::serve_connection;
pub use limits::ConnectionLimits;

/// Where the server is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// It serves.
    Serving,
    /// It still serves, and each answer says that its connection ends.
    Leaving,
    /// It takes no connection any more, and no request.
    Ending,
}

/// Serves the router until `shutdown` is done. For a moment it then still takes requests, and finishes those under way, within
/// limits.
///
/// # Errors
/// None at present: what goes wrong with the listener is logged and tried again.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve_with(listener, router, ConnectionLimits::default(), shutdown).await
}

/// Like [`serve`], within other limits.
///
/// # Errors
/// As of [`serve`].
pub async fn serve_with(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let most = limits.max_connections.max(1);
    let (course, followed) = watch::channel(Course::Serving);
    let mut connections = JoinSet::new();
    let mut failures = AcceptFailures::default();
    let farewell = async {
        shutdown.await;
        course.send_replace(Course::Leaving);
        sleep(limits.farewell).await;
    };
    let mut farewell = pin!(farewell);
    loop {
        // Without room, who comes next waits in the kernel.
        let has_room = connections.len() < most;
        tokio::select! {
            () = &mut farewell => break,
            Some(ended) = connections.join_next() => note_end(ended),
            (stream, _) = accept(|| listener.accept(), &mut failures), if has_room => {
                connections.spawn(serve_connection(stream, router.clone(), limits, followed.clone()));
            }
        }
    }
    // Who is in the kernel's queue has come in time.
    while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
        connections.spawn(serve_connection(stream, router.clone(), limits, followed.clone()));
    }
    drop(listener);
    course.send_replace(Course::Ending);
    let all_ended = async {
        while let Some(ended) = connections.join_next().await {
            note_end(ended);
        }
    };
    if timeout(limits.shutdown_grace, all_ended).await.is_err() {
        // Dropping the set gives them up.
        tracing::warn!(connections = connections.len(), "stopped with requests still under way");
    }
    Ok(())
}

/// A panic ends one connection and must not go unseen.
fn note_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection failed");
    }
}
