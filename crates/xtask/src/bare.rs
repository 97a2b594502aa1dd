//! What `axum::serve` alone costs: a handler that answers the bytes that a master would.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;

/// As long as a master's answer to a GET of a 16-byte key with 100 bytes of text.
const ANSWER: &str = concat!(
    r#"{"key":"key-000000000000","value":""#,
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    r#"","version":"931820046148173976"}"#
);

/// Serves until killed; prints the line that the harness waits for.
pub(crate) async fn serve(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("bare axum handler listening on http://{}", listener.local_addr()?);
    let app = Router::new()
        .route("/data/{key}", get(|| async { ([(CONTENT_TYPE, "application/json")], ANSWER) }))
        .route("/ready", get(|| async { r#"{"ready":true}"# }));
    Ok(axum::serve(listener, app).await?)
}
