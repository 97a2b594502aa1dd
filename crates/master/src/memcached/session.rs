//! One client's connection: reads, has groups of requests carried out, writes.

use std::io;

use annulus_protocol::memcached::{Action, Limits, Parser, Refused, Request, Step};
use annulus_service::stream::{Link, Output, Room};
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::admin;
use super::group::Group;
use crate::routes::At;

/// The longest line, in bytes: a `get` of many keys. The bytes of a long one draw on the budget, as those of a value do.
const MAX_LINE_BYTES: usize = 1 << 20;

/// Values above this are carried out on their own, and not copied.
const LARGE_BYTES: usize = 64 * 1024;

/// What the front of the input is.
enum Turn {
    /// Requests, carried out together, of so many bytes.
    Group(usize),
    /// One request that is carried out on its own.
    Single(usize),
    /// A part of a request, of which so many bytes are to come.
    More(usize),
    /// Requests of so many bytes, after which the connection ends.
    Last(usize),
}

pub(super) async fn serve<I>(at: At, mut io: I, input: BytesMut, link: Link)
where
    I: AsyncRead + AsyncWrite + Unpin + Send,
{
    let _connected = at.tallies.connect();
    // An error means that the client is gone: there is nobody to tell.
    let _ = run(&at, &mut io, input, &link).await;
    let _ = io.shutdown().await;
}

async fn run<I>(at: &At, io: &mut I, mut input: BytesMut, link: &Link) -> io::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send,
{
    let limits = Limits { max_value_bytes: at.max_value_bytes, max_line_bytes: MAX_LINE_BYTES };
    let mut parser = Parser::new(limits);
    let (mut output, mut room) = (Output::default(), Room::default());
    loop {
        link.handling();
        let mut group = Group::new(at);
        let turn = gather(&mut parser, &input, &mut group);
        group.carry_out(io, &mut output, link).await?;
        let last = matches!(turn, Turn::Last(_));
        match turn {
            Turn::Group(consumed) | Turn::Last(consumed) => input.advance(consumed),
            Turn::Single(consumed) => {
                let frame = input.split_to(consumed).freeze();
                if !single(at, limits, &frame, io, &mut output, link).await? {
                    return output.write_to(io, link).await;
                }
            }
            Turn::More(wanted) => {
                output.write_to(io, link).await?;
                if link.is_closing() && input.is_empty() {
                    return Ok(());
                }
                room.make(&mut input, wanted, at.bodies.budget(), link).await;
                if !room.read(io, &mut input).await? {
                    return Ok(());
                }
            }
        }
        if last {
            return output.write_to(io, link).await;
        }
    }
}

/// Puts the requests in front of the input into the group, until one does not fit.
fn gather<'b>(parser: &mut Parser, input: &'b [u8], group: &mut Group<'b>) -> Turn {
    let mut consumed = 0;
    loop {
        match parser.next(&input[consumed..]) {
            Step::Incomplete { wanted } if consumed == 0 => {
                return Turn::More(wanted.saturating_sub(input.len()));
            }
            Step::Incomplete { .. } => return Turn::Group(consumed),
            Step::Skipped { consumed: skipped } => consumed += skipped,
            Step::Refused(Refused { answer, consumed: refused, close, forget }) => {
                consumed += refused;
                group.add_answer(answer, forget);
                if close {
                    return Turn::Last(consumed);
                }
            }
            Step::Request { request, consumed: taken } => {
                if stands_alone(&request) {
                    return if group.is_empty() {
                        Turn::Single(consumed + taken)
                    } else {
                        Turn::Group(consumed)
                    };
                }
                if !group.add(&request) {
                    return Turn::Group(consumed);
                }
                consumed += taken;
            }
        }
    }
}

/// Whether a request is carried out on its own: it has to see all that came before it, or is large.
fn stands_alone(request: &Request<'_>) -> bool {
    match request.action {
        Action::FlushAll { .. } | Action::Stats(_) | Action::Quit => true,
        Action::Store(store) => store.value.len() > LARGE_BYTES,
        _ => false,
    }
}

/// Carries out the one request that `frame` holds, behind what was skipped or refused before it. False: the connection ends.
async fn single<I>(
    at: &At,
    limits: Limits,
    frame: &Bytes,
    io: &mut I,
    output: &mut Output,
    link: &Link,
) -> io::Result<bool>
where
    I: AsyncRead + AsyncWrite + Unpin + Send,
{
    let Step::Request { request, .. } = Parser::new(limits).next(frame) else { return Ok(true) };
    match request.action {
        Action::Quit => return Ok(false),
        Action::FlushAll { at: when } => admin::flush_all(at, when, &request.wants, output).await,
        Action::Stats(topic) => admin::stats(at, topic, output).await,
        _ => {
            let mut group = Group::new(at).sharing(frame);
            group.add(&request);
            group.carry_out(io, output, link).await?;
        }
    }
    Ok(true)
}
