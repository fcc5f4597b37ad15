//! `serve`: the server. It listens at once and loads the model in the background.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal;

use super::args::ServeArgs;
use super::error::{CliError, CliResult};
use crate::engine::{ModelEngine, OpenDevice};
use crate::media::DecodeOptions;
use crate::models::Catalog;
use crate::server::{AppState, Identity, router, serve};
use crate::session::Session;
use crate::telemetry;

/// Serves until a signal ends it.
pub fn run(args: &ServeArgs) -> CliResult<()> {
    telemetry::start();
    let config = args.model.engine_config()?;
    // A device that is not there is the caller's mistake, to be told now and not in the background.
    drop(OpenDevice::open(config.device, config.precision)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start the server's threads: {error}")))?;
    runtime.block_on(async {
        let address = SocketAddr::new(args.host, args.port);
        // The port is taken before anything else: a model that loads for a server that cannot start helps nobody.
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| CliError::Failed(format!("cannot listen on {address}: {error}; choose another --port")))?;
        let engine = ModelEngine::start(config)?;
        let session = Session::new(Arc::new(engine), DecodeOptions::default());
        let state = AppState::new(session, Identity::from_env(), Catalog::embedded().rows_for_clients());
        tracing::info!("listening on http://{}", listener.local_addr().unwrap_or(address));
        serve(listener, router(state), ended()).await.map_err(|error| CliError::Failed(error.to_string()))
    })
}

/// Done when the process is asked to end.
async fn ended() {
    let interrupt = async {
        if signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match signal::unix::signal(signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<Option<()>>();
    tokio::select! {
        () = interrupt => {}
        _ = terminate => {}
    }
    tracing::info!("shutting down");
}
