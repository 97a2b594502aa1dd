//! `refresher`: one replica in this process.

use std::process::ExitCode;
use std::sync::Arc;

use annulus_cluster::FencedStore;
use annulus_refresher::upstream::TlsRoots;
use annulus_refresher::{BuildError, Parts, Refresher};
use annulus_service::config::{Role, Settings};
use annulus_service::net::Clock;
use annulus_service::reload::Source;
use annulus_service::{Net as _, SystemNet};
use anyhow::Result;

use crate::configuration::{flags, help};
use crate::failure::Usage;
use crate::serve::{CommonArgs, Start, hostname, random_seed, set_up_process};
use crate::shutdown;

#[derive(Debug, clap::Args)]
pub(crate) struct RefresherArgs {
    #[arg(long, help = help("refresher.port"))]
    port: Option<String>,
    #[arg(long, help = help("refresher.name"))]
    name: Option<String>,
    #[arg(long, value_name = "URL", help = help("refresher.redis"))]
    redis: Option<String>,
    #[arg(long, value_name = "LIST", help = help("refresher.masters"))]
    masters: Option<String>,
    #[arg(long, value_name = "DURATION", help = help("refresher.leadership_ttl"))]
    leadership_ttl: Option<String>,
    #[arg(long, value_name = "DURATION", help = help("refresher.leadership_check_interval"))]
    leadership_check_interval: Option<String>,
    #[command(flatten)]
    common: CommonArgs,
}

/// After SIGTERM the lease is given back, so that another replica leads at once.
pub(crate) async fn run(args: &RefresherArgs) -> Result<ExitCode> {
    let own = flags([
        ("--port", "refresher.port", &args.port),
        ("--name", "refresher.name", &args.name),
        ("--redis", "refresher.redis", &args.redis),
        ("--masters", "refresher.masters", &args.masters),
        ("--leadership-ttl", "refresher.leadership_ttl", &args.leadership_ttl),
        (
            "--leadership-check-interval",
            "refresher.leadership_check_interval",
            &args.leadership_check_interval,
        ),
    ]);
    let (resolved, source) = set_up_process(args.common.layered(Role::Refresher, own))?;
    let settings = resolved.settings();
    let start = Start::new(settings, settings.refresher.port, settings.refresher.name.as_deref()).await?;
    if settings.datasets.is_empty() {
        tracing::warn!(
            "there is nothing to refresh: name datasets in the file of --config, each in a table [[datasets]]"
        );
    }
    let store = store(settings, &start.net.clock())?;
    let refresher = build(start.name.clone(), settings, &start.net, store, source)?;
    let stop = shutdown::on_signal()?;
    start.announce("refresher")?;
    refresher.run(start.listener, stop).await;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// The store that the settings name; nobody is asked yet.
pub(crate) fn store(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Arc<dyn FencedStore>> {
    annulus_refresher::store(&settings.refresher, clock).map_err(usage)
}

/// The refresher; what keeps it from being built is a setting, but for bugs.
pub(crate) fn build(
    name: String,
    settings: &Settings,
    net: &SystemNet,
    store: Arc<dyn FencedStore>,
    source: Source,
) -> Result<Refresher> {
    let id = format!("{}-{}-{}", hostname(), std::process::id(), net.clock().now_ms());
    let parts =
        Parts { id, seed: random_seed(), store, roots: TlsRoots::of_the_machine(), source: Some(source) };
    Refresher::build(name, settings, net, parts).map_err(usage)
}

fn usage(error: BuildError) -> anyhow::Error {
    match error {
        BuildError::Metrics(_) => anyhow::Error::new(error),
        setting => Usage(setting.to_string()).into(),
    }
}
