//! `serve`: the server. It listens at once and loads the model in the background.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal;

use super::args::ServeArgs;
use super::error::{CliError, CliResult};
use crate::engine::{DeviceChoice, ModelEngine, ModelPlan, OpenDevice};
use crate::lifecycle::{Lifecycle, Start};
use crate::server::{AppState, Identity, path_prefix, router, serve};
use crate::session::Session;
use crate::telemetry::{self, LogStyle};

/// How long answers that say that a device is lost may take to leave.
const FAREWELL: Duration = Duration::from_secs(2);

/// Exit code of a program that a signal ended.
const INTERRUPTED: i32 = 130;

/// Serves until it is asked to end, or a device stops working, which is an error.
pub fn run(args: &ServeArgs) -> CliResult<()> {
    telemetry::start(LogStyle::Platform);
    run_until_asked(args).inspect_err(|error| {
        // People read the line that every command ends with.
        if Identity::from_env().production {
            telemetry::report_fatal("The server stopped", &error.to_string());
        }
    })
}

fn run_until_asked(args: &ServeArgs) -> CliResult<()> {
    let plan = args.model.plan()?;
    check_devices(&plan)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start the server's threads: {error}")))?;
    let result = runtime.block_on(serve_model(args, plan));
    // What still computes is of use to nobody any more.
    runtime.shutdown_background();
    result
}

async fn serve_model(args: &ServeArgs, plan: ModelPlan) -> CliResult<()> {
    let address = SocketAddr::new(args.host, args.port);
    // The port is taken before anything else: a model that loads for a server that cannot start helps nobody.
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| CliError::Failed(format!("cannot listen on {address}: {error}; choose another --port")))?;
    let engine = ModelEngine::new(args.engine_settings());
    let identity = Identity::from_env();
    let session = Session::new(Arc::new(engine.clone()), args.session_settings(identity.session_id)?);
    let lifecycle = Lifecycle::new(Arc::new(session), args.lifecycle_settings(identity.session_id)?);
    let start = Start::from_env(plan, args.model.is_named(), identity.production);
    let router = router(AppState::new(lifecycle.clone(), identity), path_prefix().as_deref());
    tracing::info!("listening on http://{}", listener.local_addr().unwrap_or(address));

    let (starting, idling) = (lifecycle.clone(), lifecycle.clone());
    tokio::spawn(async move { starting.start(start).await });
    tokio::spawn(async move { idling.freeze_when_idle().await });
    // Answers that say so still leave, and probes see it.
    let lost = async {
        let reason = engine.lost().await;
        tokio::time::sleep(FAREWELL).await;
        reason
    };
    tokio::select! {
        result = serve(listener, router, shutdown(lifecycle)) => {
            result.map_err(|error| CliError::Failed(error.to_string()))
        }
        // Started anew, the process may find the device working again.
        reason = lost => Err(CliError::Failed(format!("the device stopped working: {reason}"))),
    }
}

/// A device that is not there is the caller's mistake, to be told now and not in the background.
fn check_devices(plan: &ModelPlan) -> CliResult<()> {
    match plan.devices {
        // There is always one, and opening it takes a while.
        DeviceChoice::Auto => Ok(()),
        _ => Ok(OpenDevice::open_all(&plan.devices, plan.precision).map(drop)?),
    }
}

/// Done when a signal or a caller asks the process to end.
async fn shutdown(lifecycle: Lifecycle) {
    tokio::select! {
        () = signalled() => lifecycle.begin_shutdown(),
        () = lifecycle.shutdown_begun() => {}
    }
    tokio::spawn(async {
        signalled().await;
        // Asked twice, it does not finish what is under way.
        std::process::exit(INTERRUPTED);
    });
    // What runs hold of the platform and the disk is let go; their callers can read how far they came until the end.
    lifecycle.session().queue().stop_all();
}

/// Done when a signal asks the process to end.
async fn signalled() {
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
}
