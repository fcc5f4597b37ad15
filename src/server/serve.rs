//! Accepting connections until told to stop.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// How long requests that are under way may take after the server was told to stop. Container engines wait for ten seconds.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(8);

/// Serves the router until `shutdown` is done. Requests under way are then finished, within a limit.
///
/// # Errors
/// The listener's.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stopping, stopped) = oneshot::channel();
    let shutdown = async move {
        shutdown.await;
        // The receiver lives as long as the server, so there is always somebody to tell.
        let _ = stopping.send(());
    };
    // Answers are written in one go; waiting to fill a packet would only delay them.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "cannot switch off packet delay");
        }
    });
    let server = axum::serve(listener, router).with_graceful_shutdown(shutdown);
    tokio::select! {
        result = server => result,
        () = wait_for_grace(stopped) => {
            tracing::warn!("stopped with requests still under way");
            Ok(())
        }
    }
}

async fn wait_for_grace(stopped: oneshot::Receiver<()>) {
    match stopped.await {
        Ok(()) => tokio::time::sleep(SHUTDOWN_GRACE).await,
        // The server ended by itself and reports that.
        Err(_) => std::future::pending().await,
    }
}
