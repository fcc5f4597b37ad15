//! The real server, queue and platform client over an engine that answers by the rules of the recordings, without a model.
//!
//! It reads the variables that the platform sets (`SERVER_ADDRESS`, `API_TOKEN`, `TASK_ID`, `ENV`, `APP_NAME`) and needs
//! nothing to be there when it starts.

#![allow(clippy::panic, reason = "the fake panics where it is asked to")]

#[path = "mod.rs"]
mod fake_engine;

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use clap::Parser;
use serve_florence_2::engine::Deployment;
use serve_florence_2::lifecycle::{Lifecycle, LifecycleSettings};
use serve_florence_2::server::{AppState, Identity, path_prefix, router, serve};
use serve_florence_2::session::{Session, SessionSettings};
use serve_florence_2::telemetry::{self, LogStyle};
use tokio::net::TcpListener;

use fake_engine::FakeEngine;

#[derive(Parser)]
struct Arguments {
    /// Port to listen on, at the loopback address
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Serve no model until one is deployed
    #[arg(long)]
    undeployed: bool,
    /// Host, or host:port, that /inference_image_url may fetch from although its address is not public
    #[arg(long, value_name = "HOST")]
    allow_fetch: Vec<serve_florence_2::media::AllowedHost>,
}

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::start(LogStyle::Text);
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port)).await?;
    let engine = FakeEngine::recorded();
    if arguments.undeployed {
        engine.set_deployment(Deployment::default());
    }
    let identity = Identity::from_env();
    let mut settings =
        SessionSettings { task_id: identity.session_id, shows_scores: true, ..SessionSettings::from_env() };
    settings.fetch.allowed_hosts.clone_from(&arguments.allow_fetch);
    let forgetful = engine.clone();
    let session = Session::new(Arc::new(engine), settings);
    let lifecycle = Lifecycle::new(Arc::new(session), LifecycleSettings::default());
    let router = router(AppState::new(lifecycle, identity), path_prefix().as_deref());
    let router = match arguments.undeployed {
        true => router.layer(from_fn_with_state(forgetful, forget_after_failure)),
        false => router,
    };
    tracing::info!("listening on http://{}", listener.local_addr()?);
    let ended = async { tokio::signal::ctrl_c().await.unwrap_or(()) };
    serve(listener, router, ended).await
}

/// The recorded server has no model any more after a deployment that failed. The real one keeps the model before it, but the
/// recordings follow one another on one server and begin where the last one ended.
async fn forget_after_failure(State(engine): State<FakeEngine>, request: Request, next: Next) -> Response {
    let is_deployment = request.uri().path().ends_with("/deploy_from_api");
    let response = next.run(request).await;
    if is_deployment && !response.status().is_success() {
        engine.set_deployment(Deployment::default());
    }
    response
}
