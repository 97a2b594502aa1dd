//! Goes through all exchanges with a running server, which must hold nothing that matters: it is flushed for each.
//! `cargo run -p annulus-protocol --example exchanges -- 127.0.0.1:11211`, and with a version of memcached behind it, such as `1.6.45`,
//! only those which that version answers in the same way.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use annulus_protocol::memcached::exchange::{Case, SCRIPTS, SYNC, is_answered};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends, and reads to the end of the step or of the connection.
fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    stream.write_all(bytes)?;
    while !is_answered(bytes, &answer) {
        match stream.read(&mut chunk)? {
            0 => break,
            len => answer.extend_from_slice(&chunk[..len]),
        }
    }
    Ok(answer)
}

fn run(case: &Case<'_>, address: &str) -> Result<(), String> {
    let connect = || -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let fresh = [b"flush_all\r\nstats reset\r\nstats detail off\r\n", SYNC].concat();
        exchange(&mut stream, &fresh).map(|_| stream)
    };
    let mut stream = connect().map_err(|error| format!("{}: {error}", case.name))?;
    let mut failure = None;
    let done = case.run(|bytes| {
        exchange(&mut stream, bytes).unwrap_or_else(|error| {
            failure = Some(format!("{}: {error}", case.name));
            Vec::new()
        })
    });
    failure.map_or(done, Err)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, rest @ ..] = &arguments[..] else {
        eprintln!("usage: exchanges ADDRESS [VERSION]");
        return ExitCode::FAILURE;
    };
    let version = rest.first().map_or("", String::as_str);
    let cases: Vec<Case<'_>> = SCRIPTS
        .iter()
        .flat_map(|(_, script)| Case::all(script))
        .filter(|case| case.difference(version).is_none())
        .collect();
    let failures: Vec<String> = cases.iter().filter_map(|case| run(case, address).err()).collect();
    for failure in &failures {
        println!("{failure}");
    }
    println!("{} passed, {} failed", cases.len() - failures.len(), failures.len());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
