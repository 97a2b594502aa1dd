//! What must hold of any bytes that a client may send: what property tests, the fuzz target and the long-running example
//! check.

use super::reference::{Connection, Reference};
use super::{AnswerLimits, AnswerParser, AnswerStep, Limits, Now, Parser, Step};

const NOW: Now = Now { unix_ms: 1_800_000_000_000 };

/// Checks that a parser makes progress on `stream`, asks for no more than it may, that a server answers the same however
/// the stream is cut, and that a client can read the answers. `cuts` are the lengths of the pieces, over and over.
///
/// # Errors
/// Says what does not hold.
pub fn check_stream(stream: &[u8], cuts: &[usize], limits: Limits) -> Result<(), String> {
    check_progress(stream, limits)?;
    let whole = answers(std::iter::once(stream), limits);
    check_readable(&whole.0)?;
    // What is no line yet is judged by how much of it has come, as memcached does.
    if stream.split(|byte| *byte == b'\n').any(|line| line.len() >= Parser::MAX_OPEN_LINE_BYTES) {
        return Ok(());
    }
    let mut rest = stream;
    let mut lengths = cuts.iter().copied().cycle();
    let pieces = std::iter::from_fn(|| {
        let length = lengths.next().unwrap_or(1).clamp(1, rest.len().max(1));
        let (piece, behind) = rest.split_at_checked(length)?;
        rest = behind;
        Some(piece)
    });
    let cut = answers(pieces, limits);
    if whole == cut {
        return Ok(());
    }
    let show =
        |(bytes, closed): &(Vec<u8>, bool)| format!("{:?}, closed: {closed}", String::from_utf8_lossy(bytes));
    Err(format!("in one piece {}; in pieces {}", show(&whole), show(&cut)))
}

/// What a server answers to the pieces, and whether it closed the connection.
fn answers<'b>(pieces: impl Iterator<Item = &'b [u8]>, limits: Limits) -> (Vec<u8>, bool) {
    let (mut server, mut connection, mut out) = (Reference::default(), Connection::new(limits), Vec::new());
    for piece in pieces {
        connection.receive(piece, &mut server, NOW, &mut out);
    }
    (out, connection.is_closed())
}

fn check_progress(stream: &[u8], limits: Limits) -> Result<(), String> {
    let (mut parser, mut rest) = (Parser::new(limits), stream);
    let most = limits.max_line_bytes.max(Parser::MAX_OPEN_LINE_BYTES) + limits.max_value_bytes + 4;
    loop {
        let consumed = match parser.next(rest) {
            Step::Incomplete { wanted } if wanted <= rest.len() => {
                return Err(format!("wants {wanted} bytes and has {}", rest.len()));
            }
            Step::Incomplete { wanted } if wanted > most => {
                return Err(format!("wants {wanted} bytes, the limit is {most}"));
            }
            Step::Incomplete { .. } => return Ok(()),
            Step::Refused(refused) if refused.close => return Ok(()),
            Step::Refused(refused) => refused.consumed,
            Step::Request { consumed, .. } | Step::Skipped { consumed } => consumed,
        };
        rest = match rest.split_at_checked(consumed) {
            Some((taken, rest)) if !taken.is_empty() => rest,
            _ => return Err(format!("took {consumed} of {} bytes", rest.len())),
        };
    }
}

fn check_readable(mut answers: &[u8]) -> Result<(), String> {
    let mut parser = AnswerParser::new(AnswerLimits::default());
    while !answers.is_empty() {
        match parser.next(answers) {
            AnswerStep::Answer { consumed, .. } => answers = &answers[consumed..],
            step => return Err(format!("{step:?} at {:?}", String::from_utf8_lossy(answers))),
        }
    }
    Ok(())
}
