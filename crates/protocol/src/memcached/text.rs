//! The text commands.

use super::admin;
use super::expiry::Exptime;
use super::item::Marks;
use super::key::WireKey;
use super::meta::Shape;
use super::parser::{Head, Parsed, Refusal, bad_format, refuse, request};
use super::request::{Action, Keys, Request, StoreMode};
use super::token::{
    Tokens, parse_digits, parse_digits_u32, parse_exptime, parse_length, parse_time, parse_u32,
};
use super::update::{Delta, Direction, Side, Update};
use super::wants::{Form, Tally, Wants};
use crate::key::MAX_KEY_BYTES;

const BAD_FORMAT: &[u8] = b"CLIENT_ERROR bad command line format\r\n";
const BAD_EXPTIME: &[u8] = b"CLIENT_ERROR invalid exptime argument\r\n";

/// The commands that bring a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Cas,
}

impl Command {
    fn tally(self) -> Tally {
        if self == Self::Cas { Tally::Swap } else { Tally::Store }
    }

    fn shape(self, flags: u32, exptime: Exptime, unique: u64) -> Shape {
        let store = |mode| Shape::Store { mode, flags, exptime, marks: Marks::NONE, new_cas: None };
        let join = |side| Shape::Join { side, cas: None, vivify: None, new_cas: None };
        match self {
            Self::Set => store(StoreMode::Set),
            Self::Add => store(StoreMode::Add),
            Self::Replace => store(StoreMode::Replace),
            Self::Cas => store(StoreMode::Cas { unique, or_older: false }),
            Self::Append => join(Side::After),
            Self::Prepend => join(Side::Before),
        }
    }
}

/// The last token of a line says whether to answer, also where the rest of the line is wrong.
fn is_noreply(token: &[u8]) -> bool {
    token == b"noreply"
}

fn unless(quiet: bool, answer: &'static [u8]) -> Refusal<'static> {
    refuse(if quiet { b"" } else { answer })
}

fn parsed(action: Action<'_>, form: Form, tally: Tally, quiet: bool) -> Parsed<'_> {
    Parsed::Request(Request { action, wants: Wants::text(form, tally, quiet) })
}

pub(super) fn get<'a>(tokens: &Tokens<'a>, cas: bool) -> Result<Parsed<'a>, Refusal<'a>> {
    let keys = keys(tokens)?;
    Ok(request(Action::Read(keys), Form::Get { cas }, Tally::Get))
}

/// One long key spoils them all, as nothing of the answer may be out by then.
fn keys<'a>(tokens: &Tokens<'a>) -> Result<Keys<'a>, Refusal<'a>> {
    let (mut count, mut longest) = (0, 0);
    for token in tokens.clone() {
        count += 1;
        longest = longest.max(token.len());
    }
    match (count, longest) {
        (0, _) => Err(bad_format()),
        (_, 0..=MAX_KEY_BYTES) => Ok(Keys::new(tokens.rest())),
        _ => Err(bad_format()),
    }
}

/// A line that is too short, or names no length, is told of also where it ends with `noreply`, and what follows it is the
/// next line. After anything else that is wrong the value is thrown away.
pub(super) fn store<'a>(
    tokens: &mut Tokens<'a>,
    command: Command,
    max_value_bytes: usize,
) -> Result<Parsed<'a>, Refusal<'a>> {
    let mut wanted = [&b""[..]; 4];
    for token in &mut wanted {
        *token = tokens.next().ok_or_else(bad_format)?;
    }
    let [key, flags, exptime, length] = wanted;
    let length = parse_length(length).ok_or_else(bad_format)?;
    let unique = tokens.next();
    let quiet = is_noreply(tokens.last().or(unique).unwrap_or_default());
    let bad = || unless(quiet, BAD_FORMAT).swallowing(length);
    if key.len() > MAX_KEY_BYTES {
        return Err(bad());
    }
    let key = WireKey::plain(key);
    let flags = parse_u32(flags).ok_or_else(bad)?;
    let exptime = parse_exptime(exptime).ok_or_else(bad)?;
    let unique = if command == Command::Cas { unique.and_then(parse_digits).ok_or_else(bad)? } else { 0 };
    if length > max_value_bytes {
        return Err(Refusal::too_large(key, length, command == Command::Set, quiet));
    }
    let wants = Wants::text(Form::Store, command.tally(), quiet);
    Ok(Parsed::Value(Head { key, length, wants, shape: command.shape(flags, exptime, unique) }))
}

pub(super) fn delete<'a>(tokens: &mut Tokens<'a>) -> Result<Parsed<'a>, Refusal<'a>> {
    let (key, quiet) = key_and_noreply(tokens)?;
    Ok(parsed(Action::Delete { key }, Form::Delete, Tally::Delete, quiet))
}

/// Takes a key off the line, and looks at the line's last word.
fn key_and_noreply<'a>(tokens: &mut Tokens<'a>) -> Result<(WireKey<'a>, bool), Refusal<'a>> {
    let key = tokens.next().ok_or_else(bad_format)?;
    let quiet = is_noreply(tokens.clone().last().unwrap_or_default());
    if key.len() > MAX_KEY_BYTES {
        return Err(unless(quiet, BAD_FORMAT));
    }
    Ok((WireKey::plain(key), quiet))
}

/// The commands that are rare.
pub(super) fn others<'a>(command: &[u8], tokens: &mut Tokens<'a>) -> Result<Parsed<'a>, Refusal<'a>> {
    match command {
        b"gat" => get_and_touch(tokens, false),
        b"gats" => get_and_touch(tokens, true),
        b"incr" => arithmetic(tokens, Direction::Up),
        b"decr" => arithmetic(tokens, Direction::Down),
        b"touch" => touch(tokens),
        b"flush_all" => flush_all(tokens),
        b"version" => Ok(request(Action::Version, Form::Other, Tally::Nothing)),
        b"verbosity" => verbosity(tokens),
        b"stats" => admin::stats(tokens),
        b"quit" => Ok(request(Action::Quit, Form::Other, Tally::Nothing)),
        _ => Err(admin::refused(command, tokens)),
    }
}

fn get_and_touch<'a>(tokens: &mut Tokens<'a>, cas: bool) -> Result<Parsed<'a>, Refusal<'a>> {
    let exptime = tokens.next().ok_or_else(bad_format)?;
    if tokens.rest().is_empty() {
        return Err(bad_format());
    }
    let exptime = parse_time(exptime).ok_or(refuse(BAD_EXPTIME))?;
    let keys = keys(tokens)?;
    Ok(request(Action::ReadTouch { keys, exptime }, Form::Get { cas }, Tally::Touch))
}

/// A key and an argument.
fn key_and_argument<'a>(tokens: &mut Tokens<'a>) -> Result<(WireKey<'a>, &'a [u8], bool), Refusal<'a>> {
    let mut behind = tokens.clone();
    let (Some(_), Some(argument)) = (behind.next(), behind.next()) else { return Err(bad_format()) };
    let (key, quiet) = key_and_noreply(tokens)?;
    Ok((key, argument, quiet))
}

fn arithmetic<'a>(tokens: &mut Tokens<'a>, direction: Direction) -> Result<Parsed<'a>, Refusal<'a>> {
    let (key, by, quiet) = key_and_argument(tokens)?;
    let bad = || unless(quiet, b"CLIENT_ERROR invalid numeric delta argument\r\n");
    let by = parse_digits(by).ok_or_else(bad)?;
    let delta = Delta { direction, by, cas: None, vivify: None, touch: None, new_cas: None };
    let tally = Tally::of_delta(direction);
    Ok(parsed(Action::Update { key, update: Update::Delta(delta) }, Form::Delta, tally, quiet))
}

fn touch<'a>(tokens: &mut Tokens<'a>) -> Result<Parsed<'a>, Refusal<'a>> {
    let (key, exptime, quiet) = key_and_argument(tokens)?;
    let exptime = parse_time(exptime).ok_or_else(|| unless(quiet, BAD_EXPTIME))?;
    let update = Update::Touch { exptime, shows: false };
    Ok(parsed(Action::Update { key, update }, Form::Touch, Tally::Touch, quiet))
}

fn flush_all<'a>(tokens: &mut Tokens<'a>) -> Result<Parsed<'a>, Refusal<'a>> {
    let (first, others) = (tokens.next(), tokens.clone().count());
    let quiet = is_noreply(tokens.last().or(first).unwrap_or_default());
    let at = match first {
        Some(at) if others > 0 || !quiet => parse_time(at).ok_or_else(|| unless(quiet, BAD_EXPTIME))?,
        _ => Exptime(0),
    };
    Ok(parsed(Action::FlushAll { at }, Form::Done, Tally::Flush, quiet))
}

fn verbosity<'a>(tokens: &mut Tokens<'a>) -> Result<Parsed<'a>, Refusal<'a>> {
    let level = tokens.next();
    let quiet = is_noreply(tokens.last().or(level).unwrap_or_default());
    level.and_then(parse_digits_u32).ok_or_else(|| unless(quiet, BAD_FORMAT))?;
    let answer: &[u8] = if quiet { b"" } else { b"OK\r\n" };
    Ok(request(Action::Answer(answer), Form::Other, Tally::Nothing))
}
