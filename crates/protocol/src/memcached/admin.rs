//! Commands for those who operate a memcached: `stats`, and those that tune what only memcached has.

use super::parser::{Parsed, Refusal, refuse, request};
use super::request::{Action, Detail, Topic};
use super::token::{Tokens, parse_digits_u32};
use super::wants::{Form, Tally};

const ERROR: &[u8] = b"ERROR\r\n";
const BAD_FORMAT: &[u8] = b"CLIENT_ERROR bad command line format\r\n";

/// Slab classes are numbered below this.
const MAX_CLASSES: u32 = 64;

pub(super) fn stats<'a>(tokens: &mut Tokens<'a>) -> Result<Parsed<'a>, Refusal<'a>> {
    let topic = match tokens.next() {
        None => Topic::General,
        Some(b"settings") => Topic::Settings,
        Some(b"items") => Topic::Items,
        Some(b"slabs") => Topic::Slabs,
        Some(b"sizes") => Topic::Sizes,
        Some(b"conns") => Topic::Connections,
        Some(b"reset") => Topic::Reset,
        Some(b"cachedump") => cache_dump(tokens)?,
        Some(b"detail") => match tokens.next() {
            Some(b"on") => Topic::Detail(Detail::On),
            Some(b"off") => Topic::Detail(Detail::Off),
            Some(b"dump") => Topic::Detail(Detail::Dump),
            _ => return Err(refuse(b"CLIENT_ERROR usage: stats detail on|off|dump\r\n")),
        },
        Some(_) => return Err(refuse(ERROR)),
    };
    Ok(request(Action::Stats(topic), Form::Other, Tally::Nothing))
}

fn cache_dump<'a>(tokens: &mut Tokens<'_>) -> Result<Topic, Refusal<'a>> {
    let (Some(class), Some(limit)) = (tokens.next(), tokens.next()) else {
        return Err(refuse(b"CLIENT_ERROR bad command line\r\n"));
    };
    match (parse_digits_u32(class), parse_digits_u32(limit)) {
        (Some(..MAX_CLASSES), Some(limit)) => Ok(Topic::CacheDump { limit }),
        (Some(_), Some(_)) => Err(refuse(b"CLIENT_ERROR Illegal slab id\r\n")),
        _ => Err(refuse(BAD_FORMAT)),
    }
}

/// What is answered to commands for which there is nothing to tune here, in the words of a memcached that has it
/// switched off; and to those that do not exist.
pub(super) fn refused(command: &[u8], tokens: &Tokens<'_>) -> Refusal<'static> {
    let mut words = tokens.clone();
    let (first, second) = (words.next().unwrap_or_default(), words.next());
    match command {
        b"shutdown" => refuse(b"SERVER_ERROR: shutdown not enabled\r\n"),
        b"watch" => refuse(b"CLIENT_ERROR watch commands not allowed\r\n"),
        b"slabs" => refuse(slabs(first, second, words.next())),
        b"lru_crawler" => refuse(match (first, second) {
            (b"crawl" | b"metadump" | b"mgdump", Some(_)) => b"CLIENT_ERROR lru crawler disabled\r\n",
            (b"enable", None) => b"ERROR failed to start lru crawler thread\r\n",
            (b"disable", None) => b"OK\r\n",
            _ => ERROR,
        }),
        b"cache_memlimit" if parse_digits_u32(first).is_some() => {
            refuse(b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n")
        }
        // A browser, or a form that a page has sent in its name: it must not get a second line through.
        _ if tokens.clone().last().is_some_and(|last| last.starts_with(b"HTTP/")) => {
            Refusal { close: true, ..refuse(b"") }
        }
        _ => refuse(ERROR),
    }
}

/// There are no slab classes, so pages are never moved between them.
fn slabs(first: &[u8], second: Option<&[u8]>, third: Option<&[u8]>) -> &'static [u8] {
    match (first, second, third) {
        (b"reassign", Some(_), Some(_)) => b"CLIENT_ERROR slab reassignment disabled\r\n",
        (b"automove", Some(b"0"), _) => b"OK\r\n",
        (b"automove", Some(level), _) if parse_digits_u32(level).is_some() => {
            b"CLIENT_ERROR slab reassignment disabled\r\n"
        }
        (b"automove", Some(_), _) => BAD_FORMAT,
        _ => ERROR,
    }
}
