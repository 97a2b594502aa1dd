//! What goes to stdout, and how numbers read there.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use anyhow::{Context as _, Result};

/// Writes to stdout at once. A reader that has left (`annulus nodes | head -1`) is no error.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<()> {
    print_on(bytes).map(drop)
}

/// As [`print_bytes`], for who goes on writing: `false` where the reader has left.
pub(crate) fn print_on(bytes: &[u8]) -> Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true).context("cannot write to stdout"),
    }
}

/// Writes text and the end of its line.
pub(crate) fn print_line(text: &str) -> Result<()> {
    print_bytes(format!("{text}\n").as_bytes())
}

/// Writes a value as indented JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print_line(&serde_json::to_string_pretty(value)?)
}

/// How a cell stands in its column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows as columns of equal width, two spaces between them; a row is a line.
pub(crate) fn table(align: &[Align], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..align.len()).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for ((cell, align), width) in row.iter().zip(align).zip(&widths) {
            let _ = match align {
                Align::Left => write!(line, "{cell:<width$}  "),
                Align::Right => write!(line, "{cell:>width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.5 MiB`.
pub(crate) fn bytes(number: u64) -> String {
    let mut size = number as f64;
    let mut unit = 0;
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{number} B") } else { format!("{size:.1} {}", units[unit]) }
}

/// `85.61 %`, of a ratio from 0 to 1.
pub(crate) fn percent(ratio: f64) -> String {
    format!("{:.2} %", ratio * 100.0)
}

/// Text that a stranger wrote, for a terminal: it may not steer it.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !matches!(c, '\n' | '\t') {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1023, 1536, 64 << 20].map(bytes), ["0 B", "1023 B", "1.5 KiB", "64.0 MiB"]);
        assert_eq!(percent(0.8561), "85.61 %");
    }

    #[test]
    fn columns_line_up_and_no_line_ends_in_spaces() {
        let rows = [["a", "1", ""], ["long", "10", "x"]].map(|row| row.map(str::to_owned).to_vec());
        let text = table(&[Align::Left, Align::Right, Align::Left], &rows);
        assert_eq!(text, "a      1\nlong  10  x\n");
    }

    #[test]
    fn a_value_cannot_steer_the_terminal() {
        assert_eq!(harmless("a\n\tb\u{1b}[2Jé\r"), "a\n\tb\\u{1b}[2Jé\\r");
    }
}
