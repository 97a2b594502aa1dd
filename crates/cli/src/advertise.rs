//! At which address others reach this node.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use annulus_service::config::Settings;
use anyhow::{Context as _, Result};
use tokio::net::{UdpSocket, lookup_host};

/// How often the name of the other side is looked up before this gives up, and how long it waits in between: where a
/// whole cluster starts at once, names come up with their machines.
const ATTEMPTS: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

const REDIS_PORT: u16 = 6379;
const HTTP_PORT: u16 = 80;

/// The `host:port` that others are told: what the settings say, or else the address this node listens on, or else, where
/// it listens on all of them, the one from which the system would send to `towards`.
pub(crate) async fn address(settings: &Settings, port: u16, towards: &str) -> Result<String> {
    if let Some(address) = &settings.auxiliary.advertise {
        return Ok(address.clone());
    }
    let host = &settings.server.host;
    match host.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => {}
        Ok(ip) => return Ok(SocketAddr::new(ip, port).to_string()),
        Err(_) => return Ok(format!("{host}:{port}")),
    }
    let mut attempt = 1;
    loop {
        match local_address(towards).await {
            Ok(ip) => return Ok(SocketAddr::new(ip, port).to_string()),
            Err(error) if attempt >= ATTEMPTS => {
                return Err(error).with_context(|| {
                    format!(
                        "cannot tell by which address others reach this node, because {towards} cannot be looked up: set \
                         auxiliary.advertise (--advertise HOST:PORT), or make that name known"
                    )
                });
            }
            Err(error) if attempt == 1 => {
                tracing::warn!(%error, "{towards} cannot be looked up; trying again for {:?}", PAUSE * ATTEMPTS);
            }
            Err(_) => {}
        }
        attempt += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks the system which way it would take; nothing is sent.
async fn local_address(towards: &str) -> std::io::Result<IpAddr> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for there in lookup_host(towards).await? {
        let any: IpAddr = if there.is_ipv4() {
            std::net::Ipv4Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        match socket.connect(there).await {
            Ok(()) => return Ok(socket.local_addr()?.ip()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// `host:port` of `redis://user:password@host:port/database` and its shorter forms.
pub(crate) fn host_of_redis(url: &str) -> String {
    host(url, REDIS_PORT)
}

/// `host:port` of `http://host:port/` and its shorter forms.
pub(crate) fn host_of_master(url: &str) -> String {
    host(url, HTTP_PORT)
}

fn host(url: &str, default_port: u16) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { host.to_owned() } else { format!("{host}:{default_port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn found(host: &str, advertise: Option<&str>, towards: &str) -> String {
        let mut settings = Settings::default();
        settings.server.host = host.to_owned();
        settings.auxiliary.advertise = advertise.map(str::to_owned);
        address(&settings, 3001, towards).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_given_counts_first_and_a_specific_host_next() {
        assert_eq!(found("0.0.0.0", Some("cache-1:80"), "127.0.0.1:1").await, "cache-1:80");
        assert_eq!(found("10.0.0.7", None, "127.0.0.1:1").await, "10.0.0.7:3001");
        assert_eq!(found("::1", None, "127.0.0.1:1").await, "[::1]:3001");
        assert_eq!(found("cache-1.example", None, "127.0.0.1:1").await, "cache-1.example:3001");
    }

    #[tokio::test]
    async fn who_listens_everywhere_is_reached_by_the_way_it_would_send() {
        assert_eq!(found("0.0.0.0", None, "127.0.0.1:1").await, "127.0.0.1:3001");
        assert_eq!(found("::", None, "127.0.0.1:1").await, "127.0.0.1:3001");
    }

    #[test]
    fn the_other_side_is_found_in_any_form_of_its_url() {
        for (url, host) in [
            ("redis://127.0.0.1:6380/0", "127.0.0.1:6380"),
            ("redis://user:pass:word@redis/1", "redis:6379"),
            ("redis", "redis:6379"),
            ("10.0.0.1:7000", "10.0.0.1:7000"),
            ("redis://[::1]:6379/3", "[::1]:6379"),
            ("redis://[::1]", "[::1]:6379"),
        ] {
            assert_eq!(host_of_redis(url), host, "{url}");
        }
        assert_eq!(host_of_master("http://master:8000/"), "master:8000");
        assert_eq!(host_of_master("master"), "master:80");
    }
}
