//! The meta commands: `mg ms md ma me mn`.

use super::expiry::Exptime;
use super::item::Marks;
use super::key::WireKey;
use super::parser::{Head, Parsed, Refusal, bad_format, refuse};
use super::request::{Action, Request, Store, StoreMode};
use super::token::{Tokens, parse_digits, parse_digits_u32, parse_length, parse_time};
use super::update::{Delta, Direction, Invalidate, Join, Side, Update, Vivify};
use super::wants::{Form, Inline, MAX_FLAGS, MAX_OPAQUE_BYTES, Tally, Wants};
use crate::key::MAX_KEY_BYTES;

const BAD_TOKEN: &[u8] = b"CLIENT_ERROR bad token in command line format\r\n";
const BAD_FORMAT: &[u8] = b"CLIENT_ERROR bad command line format\r\n";
const BAD_KEY: &[u8] = b"CLIENT_ERROR error decoding key\r\n";
const BAD_FLAG: &[u8] = b"CLIENT_ERROR invalid flag\r\n";
const TWICE: &[u8] = b"CLIENT_ERROR duplicate flag\r\n";
const BAD_OR_TWICE: &[u8] = b"CLIENT_ERROR invalid or duplicate flag\r\n";
/// Words of a command at most, its name, key and length included.
const MAX_WORDS: usize = MAX_FLAGS + 2;

const TOO_MANY: &[u8] = b"CLIENT_ERROR options flags are too long\r\n";
const LONG_OPAQUE: &[u8] = b"CLIENT_ERROR opaque token too long\r\n";
const BAD_SET_MODE: &[u8] = b"CLIENT_ERROR invalid mode for ms M token\r\n";
const BAD_DELTA_MODE: &[u8] = b"CLIENT_ERROR invalid mode for ma M token\r\n";
const BAD_INITIAL: &[u8] = b"CLIENT_ERROR invalid numeric initial value\r\n";
const BAD_DELTA: &[u8] = b"CLIENT_ERROR invalid numeric delta value\r\n";

/// The flags of one command. Every command takes every flag; it makes nothing of those that are not its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct MetaFlags {
    /// One bit for each letter.
    seen: u128,
    pub(super) letters: Inline<MAX_FLAGS>,
    pub(super) opaque: Inline<MAX_OPAQUE_BYTES>,
    touch: Option<Exptime>,
    vivify: Option<Exptime>,
    recache: Option<Exptime>,
    client_flags: u32,
    cas: Option<u64>,
    new_cas: Option<u64>,
    mode: u8,
    initial: u64,
    delta: u64,
    /// The opaque is longer than an answer has room for.
    long_opaque: bool,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    /// A flag is no flag at all, so the line can not be read.
    Line,
    /// Its key or a flag, for which this is what is said.
    Flags(&'static [u8]),
}

impl Wrong {
    /// For a line without a value.
    fn refusal<'a>(self) -> Refusal<'a> {
        match self {
            Self::Line => bad_format(),
            Self::Flags(answer) => refuse(answer),
        }
    }
}

impl MetaFlags {
    const NONE: Self = Self {
        seen: 0,
        letters: Inline::EMPTY,
        opaque: Inline::EMPTY,
        touch: None,
        vivify: None,
        recache: None,
        client_flags: 0,
        cas: None,
        new_cas: None,
        mode: 0,
        initial: 0,
        delta: 1,
        long_opaque: false,
    };

    /// Reads the flags of `key`, and with flag `b` the key. Where several are wrong, the last one is named. `words` are
    /// those in front of the flags.
    fn parse<'a>(&mut self, tokens: &Tokens<'a>, words: usize, key: &mut WireKey<'a>) -> Result<(), Wrong> {
        let max = MAX_WORDS - words;
        let done = match key.wire().len() {
            ..=MAX_KEY_BYTES => self.parse_all(tokens.clone(), key),
            _ => Err(BAD_FORMAT),
        };
        match done {
            Ok(()) if self.seen.count_ones() as usize <= max => Ok(()),
            _ if tokens
                .clone()
                .any(|token| !token[0].is_ascii_digit() && !(b'A'..=b'z').contains(&token[0])) =>
            {
                Err(Wrong::Line)
            }
            Err(error) if error == BAD_FORMAT || tokens.clone().nth(max).is_none() => {
                Err(Wrong::Flags(error))
            }
            _ => Err(Wrong::Flags(TOO_MANY)),
        }
    }

    fn parse_all<'a>(&mut self, mut tokens: Tokens<'a>, key: &mut WireKey<'a>) -> Result<(), &'static [u8]> {
        let mut wrong = None;
        while let Some(token) = tokens.next_short() {
            let letter = token[0];
            if letter >= 127 || self.has(letter) {
                return Err(TWICE);
            }
            self.seen |= 1 << letter;
            self.letters.push_byte(letter);
            match self.take(letter, &token[1..], token, key) {
                Ok(()) => {}
                Err(BAD_FLAG) => return Err(BAD_FLAG),
                // What is wrong with flag F has no text of its own.
                Err(error) => wrong = if error == BAD_FORMAT { wrong.or(Some(error)) } else { Some(error) },
            }
        }
        wrong.map_or(Ok(()), Err)
    }

    fn take<'a>(
        &mut self,
        letter: u8,
        text: &'a [u8],
        token: &'a [u8],
        key: &mut WireKey<'a>,
    ) -> Result<(), &'static [u8]> {
        let exptime = || parse_time(text).ok_or(BAD_TOKEN);
        match letter {
            b'b' => {
                *key = WireKey::base64(key.wire()).ok_or(BAD_KEY)?;
            }
            b'N' => self.vivify = Some(exptime()?),
            b'T' => self.touch = Some(exptime()?),
            b'R' => self.recache = Some(exptime()?),
            b'F' => self.client_flags = parse_digits_u32(text).ok_or(BAD_FORMAT)?,
            b'C' => self.cas = Some(parse_digits(text).ok_or(BAD_TOKEN)?),
            b'E' => self.new_cas = Some(parse_digits(text).ok_or(BAD_TOKEN)?),
            b'J' => self.initial = parse_digits(text).ok_or(BAD_INITIAL)?,
            b'D' => self.delta = parse_digits(text).ok_or(BAD_DELTA)?,
            // Where there is no mode, memcached takes the space behind the flag for it.
            b'M' => self.mode = text.first().copied().unwrap_or(b' '),
            b'O' => {
                self.opaque.push(token);
                self.long_opaque = token.len() > MAX_OPAQUE_BYTES;
            }
            b'k' | b's' | b't' | b'c' | b'f' | b'h' | b'l' | b'q' | b'v' | b'u' | b'I' | b'x' | b'P'
            | b'L' => {}
            _ => return Err(BAD_FLAG),
        }
        Ok(())
    }

    pub(super) fn has(&self, letter: u8) -> bool {
        self.seen >> letter & 1 != 0
    }

    /// The item that is made on a miss, if one is: of `T` and `N` the one that stands last is its expiry.
    fn vivify(&self, marks: Marks) -> Option<Vivify> {
        let exptime = match (self.vivify?, self.touch) {
            (_, Some(touch)) if self.position(b'T') > self.position(b'N') => touch,
            (vivify, _) => vivify,
        };
        Some(Vivify { exptime, marks })
    }

    fn position(&self, letter: u8) -> Option<usize> {
        self.letters.as_slice().iter().position(|other| *other == letter)
    }

    /// The marks of an item that the command makes.
    fn marks(&self) -> Marks {
        if self.has(b'b') { Marks::BINARY_KEY } else { Marks::NONE }
    }
}

/// Takes the key off the line. Its length is looked at with the flags.
fn key<'a>(tokens: &mut Tokens<'a>) -> Result<WireKey<'a>, Refusal<'a>> {
    tokens.next().map(WireKey::plain).ok_or_else(bad_format)
}

fn request<'a>(action: Action<'a>, form: Form, tally: Tally, flags: &MetaFlags) -> Parsed<'a> {
    Parsed::Request(Request { action, wants: Wants::meta(form, tally, flags) })
}

pub(super) fn get<'a>(tokens: &mut Tokens<'a>) -> Result<Parsed<'a>, Refusal<'a>> {
    let mut key = key(tokens)?;
    let mut flags = MetaFlags::NONE;
    flags.parse(tokens, 2, &mut key).map_err(Wrong::refusal)?;
    if flags.long_opaque {
        return Err(refuse(LONG_OPAQUE));
    }
    let is_read = flags.touch.is_none() && flags.vivify.is_none() && flags.recache.is_none();
    let update = Update::Get {
        vivify: flags.vivify(flags.marks()),
        recache: flags.recache,
        touch: flags.touch,
        touches_first: flags.position(b'T') < flags.position(b'R'),
        bump: !flags.has(b'u'),
        new_cas: flags.new_cas,
    };
    let action = if is_read {
        Action::MetaRead { key, update, bump: !flags.has(b'u') }
    } else {
        Action::Update { key, update }
    };
    let tally = if flags.touch.is_some() { Tally::Touch } else { Tally::Get };
    let mut wants = Wants::meta(Form::MetaGet { value: flags.has(b'v') }, tally, &flags);
    wants.unless_cas = flags.cas;
    Ok(Parsed::Request(Request { action, wants }))
}

pub(super) fn delete<'a>(tokens: &mut Tokens<'a>) -> Result<Parsed<'a>, Refusal<'a>> {
    let mut key = key(tokens)?;
    let mut flags = MetaFlags::NONE;
    flags.parse(tokens, 2, &mut key).map_err(Wrong::refusal)?;
    if flags.long_opaque {
        return Err(refuse(LONG_OPAQUE));
    }
    let is_plain = flags.cas.is_none() && !flags.has(b'I') && !flags.has(b'x');
    let action = if is_plain {
        Action::Delete { key }
    } else {
        let invalidate = Invalidate {
            cas: flags.cas,
            stale: flags.has(b'I'),
            remove_value: flags.has(b'x').then_some(flags.client_flags),
            touch: flags.touch,
            new_cas: flags.new_cas,
        };
        Action::Update { key, update: Update::Delete(invalidate) }
    };
    Ok(request(action, Form::MetaDelete, Tally::Delete, &flags))
}

pub(super) fn arithmetic<'a>(tokens: &mut Tokens<'a>) -> Result<Parsed<'a>, Refusal<'a>> {
    let mut key = key(tokens)?;
    let mut flags = MetaFlags::NONE;
    flags.parse(tokens, 2, &mut key).map_err(|wrong| match wrong {
        Wrong::Line => bad_format(),
        // Whatever is wrong, it says this.
        Wrong::Flags(_) => refuse(BAD_OR_TWICE),
    })?;
    let direction = match flags.mode {
        0 | b'I' | b'+' => Direction::Up,
        b'D' | b'-' => Direction::Down,
        _ => return Err(refuse(BAD_DELTA_MODE)),
    };
    if flags.long_opaque {
        return Err(refuse(LONG_OPAQUE));
    }
    let vivify = flags.vivify(Marks::NONE).map(|vivify| (flags.initial, vivify));
    let delta = Delta {
        direction,
        by: flags.delta,
        // C0 is no condition.
        cas: flags.cas.filter(|cas| *cas != 0),
        vivify,
        touch: flags.touch,
        new_cas: flags.new_cas,
    };
    Ok(request(
        Action::Update { key, update: Update::Delta(delta) },
        Form::MetaDelta { value: flags.has(b'v') },
        Tally::of_delta(direction),
        &flags,
    ))
}

pub(super) fn debug<'a>(tokens: &mut Tokens<'a>) -> Result<Parsed<'a>, Refusal<'a>> {
    let Some(token) = tokens.next().filter(|token| token.len() <= MAX_KEY_BYTES) else {
        return Err(bad_format());
    };
    let key = if tokens.next() == Some(b"b") {
        WireKey::base64(token).ok_or_else(bad_format)?
    } else {
        WireKey::plain(token)
    };
    let wants = Wants::text(Form::MetaDebug, Tally::Debug, false);
    Ok(Parsed::Request(Request { action: Action::Debug { key }, wants }))
}

pub(super) fn set<'a>(tokens: &mut Tokens<'a>, max_value_bytes: usize) -> Result<Parsed<'a>, Refusal<'a>> {
    let mut key = key(tokens)?;
    let length = tokens.next().and_then(parse_length).ok_or_else(bad_format)?;
    // From here on the value is on its way and is thrown away with the line.
    let swallowing = |answer| refuse(answer).swallowing(length);
    let mut flags = MetaFlags::NONE;
    flags.parse(tokens, 3, &mut key).map_err(|wrong| match wrong {
        Wrong::Line => bad_format(),
        Wrong::Flags(answer) => swallowing(answer),
    })?;
    let Some(shape) = shape(&flags) else { return Err(swallowing(BAD_SET_MODE)) };
    if flags.long_opaque {
        return Err(swallowing(LONG_OPAQUE));
    }
    if length > max_value_bytes {
        return Err(Refusal::too_large(key, length, true, false));
    }
    let mut wants = Wants::meta(Form::MetaSet, shape.tally(), &flags);
    wants.value_bytes = length as u32;
    Ok(Parsed::Value(Head { key, length, wants, shape }))
}

/// How a value is to be stored, known before the value is there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Store { mode: StoreMode, flags: u32, exptime: Exptime, marks: Marks, new_cas: Option<u64> },
    Join { side: Side, cas: Option<u64>, vivify: Option<(u32, Vivify)>, new_cas: Option<u64> },
}

impl Shape {
    fn tally(&self) -> Tally {
        match self {
            Self::Store { mode: StoreMode::Cas { .. }, .. } => Tally::Swap,
            _ => Tally::Store,
        }
    }

    pub(super) fn action<'a>(self, key: WireKey<'a>, value: &'a [u8]) -> Action<'a> {
        match self {
            Self::Store { mode, flags, exptime, marks, new_cas } => {
                Action::Store(Store { key, mode, flags, exptime, value, marks, new_cas })
            }
            Self::Join { side, cas, vivify, new_cas } => {
                Action::Update { key, update: Update::Join(Join { side, value, cas, vivify, new_cas }) }
            }
        }
    }
}

fn shape(flags: &MetaFlags) -> Option<Shape> {
    let exptime = flags.touch.unwrap_or_default();
    let store = |mode| Shape::Store {
        mode,
        flags: flags.client_flags,
        exptime,
        marks: flags.marks(),
        new_cas: flags.new_cas,
    };
    let swap = |otherwise| {
        flags.cas.map_or(otherwise, |unique| StoreMode::Cas { unique, or_older: flags.has(b'I') })
    };
    let join = |side| Shape::Join {
        side,
        cas: flags.cas.filter(|cas| *cas != 0),
        vivify: flags.vivify.map(|exptime| {
            let vivify = Vivify { exptime, marks: flags.marks() };
            (flags.client_flags, vivify)
        }),
        new_cas: flags.new_cas,
    };
    match flags.mode {
        0 | b'S' => Some(store(swap(StoreMode::Set))),
        b'R' => Some(store(swap(StoreMode::Replace))),
        b'E' => Some(store(StoreMode::Add)),
        b'A' => Some(join(Side::After)),
        b'P' => Some(join(Side::Before)),
        _ => None,
    }
}
