//! The upstream of `annulus dev`: made-up exchange rates that change every few seconds.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use annulus_service::config::DatasetSettings;
use annulus_service::net::Clock;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};

/// How long the rates stay as they are.
const STEP_MS: u64 = 3_000;

const RATES: [(&str, f64); 8] = [
    ("AUD", 1.65),
    ("CAD", 1.48),
    ("CHF", 0.96),
    ("GBP", 0.85),
    ("JPY", 161.2),
    ("NOK", 11.6),
    ("SEK", 11.3),
    ("USD", 1.08),
];

/// The dataset that this upstream serves at `address`, which is `host:port`.
pub fn dataset(address: &str) -> DatasetSettings {
    let mut settings = DatasetSettings::new("rates", format!("http://{address}/rates"));
    "rates/{currency}".clone_into(&mut settings.key);
    settings.items = Some("/rates".to_owned());
    settings.refresh_interval = Duration::from_secs(2);
    settings.ttl = Duration::from_secs(600);
    settings
}

/// Its routes: `GET /rates`.
pub fn routes(clock: Arc<dyn Clock>) -> Router {
    Router::new().route("/rates", get(rates)).with_state(clock)
}

async fn rates(State(clock): State<Arc<dyn Clock>>, headers: HeaderMap) -> Response {
    let step = clock.now_ms() / STEP_MS;
    let etag = format!("\"{step}\"");
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response();
    }
    ([(CONTENT_TYPE, "application/json".to_owned()), (ETAG, etag)], body(step)).into_response()
}

/// The rates of one step: each a little off its usual, by a hash of the step and its name.
fn body(step: u64) -> String {
    let mut body = format!("{{\"base\":\"EUR\",\"step\":{step},\"rates\":{{");
    for (at, (currency, usual)) in RATES.into_iter().enumerate() {
        let mixed = (step.wrapping_mul(8) + at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let rate = usual * (1.0 + (mixed as f64 / f64::from(1 << 24) - 0.5) / 50.0);
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(body, "{comma}\"{currency}\":{rate:.4}");
    }
    body.push_str("}}");
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::Rule;

    #[test]
    fn the_rates_make_entries_and_change_from_step_to_step() {
        let rule = Rule::new(&dataset("127.0.0.1:1")).unwrap();
        let of = |step| rule.apply(body(step).into(), "application/json", &[]).unwrap();
        let (one, two) = (of(1), of(2));
        assert_eq!(one.names().collect::<Vec<_>>(), RATES.map(|(name, _)| name));
        assert_eq!(rule.key("USD"), "rates/USD");
        assert_ne!(one.get("USD"), two.get("USD"));
        assert_eq!(of(1), one);
    }
}
