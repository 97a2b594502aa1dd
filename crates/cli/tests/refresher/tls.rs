//! TLS to Redis and to an upstream, with certificates of a made-up authority.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use annulus_testkit::{Process, RedisServer, eventually};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use crate::support::{BINARY, LIMIT, NAME};

/// An authority and a server's certificate, made for this run by `openssl`.
fn file(name: &str) -> PathBuf {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER.get_or_init(certificates).path().join(name)
}

fn certificates() -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1").unwrap();
    let new = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-authority -keyout ca.key -out ca.pem";
    let request = "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr";
    let sign = "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem";
    for arguments in [new, request, sign] {
        let made = Command::new("openssl").args(arguments.split(' ')).current_dir(folder.path()).output();
        assert!(made.expect("openssl is installed").status.success(), "openssl {arguments}");
    }
    folder
}

fn path(name: &str) -> String {
    file(name).display().to_string()
}

/// An upstream with TLS that answers `{}` to everything, until the test ends.
async fn upstream() -> SocketAddr {
    let certificate = CertificateDer::from_pem_file(file("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![certificate], key).unwrap()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            // One that does not trust the authority breaks off.
            let Ok(mut io) = acceptor.accept(io).await else { continue };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && io.read_buf(&mut head).await.is_ok_and(|read| read > 0) {}
            let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
            let _ = io.write_all(answer.as_bytes()).await;
            let _ = io.shutdown().await;
        }
    });
    address
}

/// A replica that trusts the authority in this file.
async fn replica(redis: u16, upstream: SocketAddr, authority: &str) -> (Process, tempfile::NamedTempFile) {
    let config = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    let url = format!("https://localhost:{}/", upstream.port());
    let dataset = "refresh_interval = '300ms'\nbackoff = '100ms'\nmax_backoff = '300ms'";
    std::fs::write(config.path(), format!("[[datasets]]\nname = '{NAME}'\nurl = '{url}'\n{dataset}\n"))
        .unwrap();
    let redis = format!("rediss://localhost:{redis}");
    let args = ["refresher", "--config", &config.path().display().to_string(), "--redis", &redis];
    let env = [("SSL_CERT_FILE".to_owned(), path(authority))];
    (Process::start_with(BINARY, &args.map(str::to_owned), &env).await.unwrap(), config)
}

async fn redis() -> (RedisServer, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (tls_port, certificate, key, authority) =
        (port.to_string(), path("server.pem"), path("server.key"), path("ca.pem"));
    let arguments = [
        "--tls-port",
        &tls_port,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &authority,
        "--tls-auth-clients",
        "no",
    ];
    (RedisServer::start_with(&arguments).await.unwrap(), port)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_and_upstreams_are_reached_over_tls() {
    let (redis, port) = redis().await;
    let (replica, _config) = replica(port, upstream().await, "ca.pem").await;
    replica.ready().await;
    assert_eq!(replica.client().get(format!("/datasets/{NAME}")).await.text(), "{}");
    assert!(redis.has(&format!("annulus:dataset:{NAME}:data")).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_an_unknown_authority_is_not_trusted() {
    let (_redis, port) = redis().await;
    // Its certificate is signed by another than itself.
    let (replica, _config) = replica(port, upstream().await, "server.pem").await;
    eventually("it says why", LIMIT, async || {
        let dataset = replica.client().get("/health").await.json()["datasets"][NAME].clone();
        dataset["last_error"].as_str().is_some_and(|text| text.contains("certificate"))
    })
    .await;
    assert_eq!(replica.client().get("/health").await.json()["redis_connected"], false);
}
