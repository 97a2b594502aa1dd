//! The same cache behind memcached's text protocol, as far as the load generator speaks it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{Cache, Faults};

/// Starts a cache on a free port of the loopback; it ends with the runtime.
pub(crate) async fn serve(faults: Faults) -> (SocketAddr, Arc<Cache>) {
    let cache = Arc::new(Cache { faults, ..Cache::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("the loopback has a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    tokio::spawn({
        let cache = cache.clone();
        async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, cache.clone()));
            }
        }
    });
    (address, cache)
}

async fn converse(stream: TcpStream, cache: Arc<Cache>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let words: Vec<_> = line.trim_end().split(' ').map(str::to_owned).collect();
        let mut body = Vec::new();
        if words[0] == "set" {
            body.resize(words[4].parse::<usize>().expect("a length") + 2, 0);
            stream.read_exact(&mut body).await?;
            assert!(body.ends_with(b"\r\n"), "{words:?}");
            body.truncate(body.len() - 2);
        }
        let answer = if cache.refuses().await {
            b"SERVER_ERROR no owner answers\r\n".to_vec()
        } else {
            answer(&cache, &words, &body)
        };
        if cache.faults.awkward {
            for piece in answer.chunks(41) {
                stream.get_mut().write_all(piece).await?;
            }
        } else {
            stream.get_mut().write_all(&answer).await?;
        }
    }
}

/// The first four bytes of a value are its flags.
fn answer(cache: &Cache, words: &[String], body: &[u8]) -> Vec<u8> {
    match (words[0].as_str(), &words[1..]) {
        ("get", keys) => {
            let mut answer = Vec::new();
            let mut keys: Vec<_> = keys.iter().collect();
            if cache.faults.awkward {
                keys.reverse();
            }
            for key in keys {
                if let Some(value) = cache.read(key) {
                    let (flags, value) = value.split_first_chunk::<4>().expect("stored with its flags");
                    let (flags, length) = (u32::from_be_bytes(*flags), value.len());
                    answer.extend_from_slice(format!("VALUE {key} {flags} {length}\r\n").as_bytes());
                    answer.extend_from_slice(value);
                    answer.extend_from_slice(b"\r\n");
                }
            }
            answer.extend_from_slice(b"END\r\n");
            answer
        }
        ("set", [key, flags, _exptime, _length]) => {
            let flags: u32 = flags.parse().expect("a number");
            cache.store(key.clone(), Bytes::from([&flags.to_be_bytes()[..], body].concat()));
            b"STORED\r\n".to_vec()
        }
        ("delete", [key]) if cache.remove(key) => b"DELETED\r\n".to_vec(),
        ("delete", [_]) => b"NOT_FOUND\r\n".to_vec(),
        _ => b"ERROR\r\n".to_vec(),
    }
}
