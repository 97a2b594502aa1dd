//! `get`, `set`, `del`.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Read as _};
use std::path::Path;
use std::process::ExitCode;

use annulus_bench::durations::ttl_seconds;
use annulus_client::{ETags, Precondition, SetOptions, Value};
use anyhow::{Context as _, Result};
use serde_json::json;

use crate::failure::{NOT_FOUND, Usage};
use crate::output;
use crate::remote::{Remote, explain};

const TEXT: &str = "text/plain; charset=utf-8";
/// No server takes larger values; a larger file is a mistake that should not fill the memory first.
const LARGEST_VALUE_BYTES: u64 = 1 << 30;

#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    /// 1 to 250 bytes, as they are: nothing is to be escaped
    key: OsString,
    /// Print the bytes as they are, also to a terminal; anywhere else they always are
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SetArgs {
    /// 1 to 250 bytes, as they are: nothing is to be escaped
    key: OsString,
    /// The value; `-` reads it from stdin, `@FILE` from a file
    #[arg(allow_negative_numbers = true)]
    value: OsString,
    /// How long it lives, such as 60 (seconds), 5m or 12h; 0: for ever [default: for ever]
    #[arg(long, value_parser = ttl_seconds, allow_hyphen_values = true)]
    ttl: Option<u64>,
    /// What the bytes are [default: text where they are UTF-8, else application/octet-stream]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Write only where the entry has this version (compare and swap), or `*`: where there is one
    #[arg(long, value_name = "VERSION", value_parser = parse_tags)]
    if_match: Option<ETags>,
    /// Write only where the entry has another version, or `*`: where there is none (add)
    #[arg(long, value_name = "VERSION", value_parser = parse_tags)]
    if_none_match: Option<ETags>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DeleteArgs {
    /// 1 to 250 bytes, as they are: nothing is to be escaped
    key: OsString,
    #[command(flatten)]
    remote: Remote,
}

pub(crate) async fn get(args: &GetArgs) -> Result<ExitCode> {
    let (client, key) = (args.remote.client()?, args.key.as_encoded_bytes());
    if args.remote.json {
        let Some(entry) = client.entry(key).await.map_err(explain)? else { return Ok(not_found(&args.key)) };
        output::print_json(&entry)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(value) = client.get(key).await.map_err(explain)? else { return Ok(not_found(&args.key)) };
    if args.raw || !std::io::stdout().is_terminal() {
        output::print_bytes(&value.bytes)?;
    } else {
        output::print_line(&for_people(&value))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn set(args: &SetArgs) -> Result<ExitCode> {
    let bytes = read_value(&args.value)?;
    let guessed = || std::str::from_utf8(&bytes).is_ok().then(|| TEXT.to_owned());
    let options = SetOptions {
        content_type: args.content_type.clone().or_else(guessed),
        ttl_seconds: args.ttl,
        condition: Precondition {
            if_match: args.if_match.clone(),
            if_none_match: args.if_none_match.clone(),
        },
    };
    let client = args.remote.client()?;
    let version = client.set(args.key.as_encoded_bytes(), bytes, &options).await.map_err(explain)?;
    if args.remote.json {
        output::print_json(&json!({ "key": args.key.to_string_lossy(), "version": version }))?;
    } else {
        output::print_line(&format!("stored, version {version}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn delete(args: &DeleteArgs) -> Result<ExitCode> {
    let deleted = args.remote.client()?.delete(args.key.as_encoded_bytes()).await.map_err(explain)?;
    let Some(version) = deleted else { return Ok(not_found(&args.key)) };
    if args.remote.json {
        output::print_json(&json!({ "key": args.key.to_string_lossy(), "version": version }))?;
    } else {
        output::print_line("deleted")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// On stderr, so that a script never takes it for a value.
fn not_found(key: &OsString) -> ExitCode {
    eprintln!("no such key: {}", output::harmless(&key.to_string_lossy()));
    ExitCode::from(NOT_FOUND)
}

/// Text as it is; of anything else what it is, because bytes on a terminal help nobody.
fn for_people(value: &Value) -> String {
    match std::str::from_utf8(&value.bytes) {
        Ok(text) => output::harmless(text),
        Err(_) => format!(
            "{} of {}: send them to a file with `> FILE`, or here with --raw",
            output::bytes(value.bytes.len() as u64),
            output::harmless(&value.content_type)
        ),
    }
}

fn read_value(value: &OsString) -> Result<Vec<u8>> {
    let given = value.as_encoded_bytes();
    let source: Box<dyn std::io::Read> = match given {
        b"-" => Box::new(std::io::stdin()),
        [b'@', ..] => {
            let text = value.to_str().ok_or_else(|| {
                Usage("the name of the file is not UTF-8: send it as `- < FILE`".to_owned())
            })?;
            let path = Path::new(&text[1..]);
            let hint = "a value that starts with @ is sent as `printf %s @… | annulus set KEY -`";
            let file = std::fs::File::open(path)
                .map_err(|error| Usage(format!("cannot read {} ({hint}): {error}", path.display())))?;
            Box::new(file)
        }
        _ => return Ok(given.to_vec()),
    };
    let mut bytes = Vec::new();
    source.take(LARGEST_VALUE_BYTES + 1).read_to_end(&mut bytes).context("cannot read the value")?;
    if bytes.len() as u64 > LARGEST_VALUE_BYTES {
        return Err(Usage("the value is over 1 GiB; no server takes it: split it".to_owned()).into());
    }
    Ok(bytes)
}

/// The version as `set` printed it; quotes, as in an ETag, may stand around it.
fn parse_tags(text: &str) -> Result<ETags, String> {
    match text.trim().trim_matches('"') {
        "*" => Ok(ETags::Any),
        version => version
            .parse()
            .map(|version| ETags::OneOf(vec![version]))
            .map_err(|_| "a version is the number that `annulus set` prints, or *".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use annulus_client::Version;

    use super::*;

    #[test]
    fn a_version_may_be_quoted() {
        assert_eq!(parse_tags("7"), Ok(ETags::OneOf(vec![Version(7)])));
        assert_eq!(parse_tags("\"7\""), Ok(ETags::OneOf(vec![Version(7)])));
        assert_eq!(parse_tags("*"), Ok(ETags::Any));
        assert!(parse_tags("latest").is_err());
    }

    #[test]
    fn bytes_are_described_and_text_is_shown() {
        let value = |bytes: &'static [u8]| Value {
            bytes: bytes.into(),
            content_type: "image/png".to_owned(),
            version: Version(1),
            ttl_seconds: None,
        };
        assert_eq!(for_people(&value(b"hi\x1b")), "hi\\u{1b}");
        assert!(for_people(&value(b"\xff\xfe")).starts_with("2 B of image/png"));
    }
}
