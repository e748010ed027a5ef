//! Metrics and health over HTTP: `/metrics`, `/healthz`, `/readyz`.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::net::TcpListener;
use tracing::{error, info};

/// Reasons for not being ready; empty when ready.
pub type Health = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

#[derive(Clone)]
struct Served {
    registry: Arc<Registry>,
    health: Health,
}

/// Serves in the background, for as long as the process lives.
///
/// # Errors
///
/// When `address` can't be listened on.
pub async fn start(
    address: SocketAddr,
    registry: Arc<Registry>,
    health: Health,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address} for metrics and health"))?;
    let routes = Router::new()
        .route("/metrics", get(metrics))
        // A process that answers is alive; readiness reports whether it makes progress.
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(Served { registry, health });
    info!("metrics and health are served on {address}");
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            error!("serving metrics and health ended: {error}");
        }
    });
    Ok(())
}

async fn metrics(State(served): State<Served>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &served.registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn readyz(State(served): State<Served>) -> Response {
    let missing = (served.health)();
    if missing.is_empty() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n").into_response()
    }
}
