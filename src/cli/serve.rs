//! `serve`: the server. It listens at once and loads the model in the background.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal;

use super::args::ServeArgs;
use super::error::{CliError, CliResult};
use crate::engine::{Engine, ModelEngine, OpenDevice};
use crate::models::Catalog;
use crate::server::{AppState, DeployDefaults, Identity, path_prefix, router, serve};
use crate::session::Session;
use crate::telemetry;

/// How long answers that say that a device is lost may take to leave.
const FAREWELL: Duration = Duration::from_secs(2);

/// Serves until a signal ends it, or a device stops working, which is an error.
pub fn run(args: &ServeArgs) -> CliResult<()> {
    telemetry::start();
    let plan = args.model.plan()?;
    // A device that is not there is the caller's mistake, to be told now and not in the background.
    drop(OpenDevice::open_all(&plan.devices, plan.precision)?);
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
        let engine = ModelEngine::new(args.engine_settings());
        let identity = Identity::from_env();
        let session = Session::new(Arc::new(engine.clone()), args.session_settings(identity.session_id)?);
        let defaults = DeployDefaults { devices: plan.devices.clone(), precision: plan.precision };
        let state = AppState::new(session, identity, Catalog::embedded().rows_for_clients(), defaults);
        let running = state.session();
        let router = router(state, path_prefix().as_deref());
        let shutdown = async move {
            ended().await;
            // What runs hold of the platform and the disk is let go; their callers can read how far they came until the end.
            running.queue().stop_all();
        };
        tracing::info!("listening on http://{}", listener.local_addr().unwrap_or(address));
        let loader = engine.clone();
        // A failure is logged, and told to whoever asks.
        tokio::spawn(async move { loader.deploy(plan).await });
        // Answers that say so still leave, and probes see it.
        let lost = async {
            let reason = engine.lost().await;
            tokio::time::sleep(FAREWELL).await;
            reason
        };
        tokio::select! {
            result = serve(listener, router, shutdown) => {
                result.map_err(|error| CliError::Failed(error.to_string()))
            }
            // Started anew, the process may find the device working again.
            reason = lost => Err(CliError::Failed(format!("the device stopped working: {reason}"))),
        }
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
