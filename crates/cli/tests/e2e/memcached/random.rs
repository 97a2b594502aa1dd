//! Sequences of commands at random, and what makes the answers of two servers comparable.

use std::collections::HashMap;

/// A generator of the SplitMix64 kind: the same sequences in every run.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % sides
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.roll(all.len() as u64) as usize]
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.roll(count) == 0
    }
}

/// Few, so that commands meet; one of them is as long as it may be.
fn key(dice: &mut Dice) -> String {
    match dice.roll(7) {
        6 => "k".repeat(250),
        number => format!("key-{number}"),
    }
}

fn value(dice: &mut Dice) -> String {
    match dice.roll(6) {
        0 => String::new(),
        1 => "v".repeat(dice.roll(3000) as usize),
        2 => dice.roll(2_000).to_string(),
        3 => "18446744073709551615".to_owned(),
        _ => format!("value-{}", dice.roll(100)),
    }
}

/// A CAS unique that was seen before, by its number in the order of appearance, or one that no item has.
fn unique(dice: &mut Dice, seen: usize) -> String {
    if seen == 0 || dice.one_in(8) { "1".to_owned() } else { format!("{{{}}}", dice.roll(seen as u64)) }
}

/// One command with all that belongs to it. `{n}` stands for the n-th CAS unique that has been seen.
pub(super) fn command(dice: &mut Dice, seen: usize) -> String {
    match dice.roll(24) {
        0..=5 => store(dice, seen),
        6..=8 => {
            let name = dice.of(&["get", "gets", "gets", "gat 100", "gats 0", "gat -1"]);
            let keys: Vec<_> = (0..=dice.roll(3)).map(|_| key(dice)).collect();
            format!("{name} {}\r\n", keys.join(" "))
        }
        9 => {
            let (name, key, by) =
                (dice.of(&["incr", "decr"]), key(dice), dice.of(&["1", "7", "10000", "-1", "x"]));
            format!("{name} {key} {by}{}\r\n", noreply(dice))
        }
        10 => format!("touch {} {}{}\r\n", key(dice), dice.of(&["0", "100", "-1"]), noreply(dice)),
        11 => format!("delete {}{}\r\n", key(dice), noreply(dice)),
        12..=15 => meta_get(dice),
        16..=18 => meta_set(dice, seen),
        19 | 20 => {
            let all = ["q", "k", "Oo1", "I", "I T30", "T30"];
            format!("md {}{}{}\r\n", key(dice), flags(dice, &all), swap(dice, seen))
        }
        21 | 22 => {
            let all = ["t", "c", "v", "k", "O9", "N100", "J13", "D7", "T200", "MD", "MI", "b"];
            let flags = flags(dice, &all).replace(" b", "");
            format!("ma {}{flags}{}\r\n", key(dice), swap(dice, seen))
        }
        _ => odd(dice),
    }
}

fn noreply(dice: &mut Dice) -> &'static str {
    if dice.one_in(6) { " noreply" } else { "" }
}

fn store(dice: &mut Dice, seen: usize) -> String {
    let name = dice.of(&["set", "set", "set", "add", "replace", "append", "prepend", "cas", "cas"]);
    let (key, value) = (key(dice), value(dice));
    let (flags, exptime) = (dice.roll(3), dice.of(&["0", "0", "100", "-1"]));
    let unique = if name == "cas" { format!(" {}", unique(dice, seen)) } else { String::new() };
    let noreply = noreply(dice);
    format!("{name} {key} {flags} {exptime} {}{unique}{noreply}\r\n{value}\r\n", value.len())
}

/// Some of the flags, in any order.
fn flags(dice: &mut Dice, all: &[&str]) -> String {
    let mut chosen: Vec<&str> = all.iter().filter(|_| dice.one_in(3)).copied().collect();
    for at in (1..chosen.len()).rev() {
        chosen.swap(at, dice.roll(at as u64 + 1) as usize);
    }
    let mut letters = Vec::new();
    chosen.retain(|flag| {
        flag.split(' ').all(|flag| !letters.contains(&flag.as_bytes()[0])) && {
            letters.extend(flag.split(' ').map(|flag| flag.as_bytes()[0]));
            true
        }
    });
    chosen.iter().flat_map(|flag| [" ", flag]).collect()
}

fn swap(dice: &mut Dice, seen: usize) -> String {
    if dice.one_in(3) { format!(" C{}", unique(dice, seen)) } else { String::new() }
}

fn meta_get(dice: &mut Dice) -> String {
    let all = ["c", "f", "h", "k", "s", "t", "v", "q", "u", "O12", "N100", "R150", "R20", "T200", "Pp", "Ll"];
    format!("mg {}{}\r\n", key(dice), flags(dice, &all))
}

fn meta_set(dice: &mut Dice, seen: usize) -> String {
    let all = ["c", "F5", "k", "Oopaque", "q", "T100", "ME", "MA", "MP", "MR", "MS"];
    let (key, value) = (key(dice), value(dice));
    let swap = swap(dice, seen);
    let invalidates = if swap.is_empty() || dice.one_in(2) { "" } else { " I" };
    format!("ms {key} {}{}{swap}{invalidates}\r\n{value}\r\n", value.len(), flags(dice, &all))
}

/// What is no request, or asks for nothing much, and is answered alike by Debian's memcached and by newer ones.
fn odd(dice: &mut Dice) -> String {
    let line = dice.of(&[
        "get",
        "gets",
        "foo",
        "",
        " ",
        "set key-1 0 0",
        "set key-1 0 0 x",
        "incr key-1",
        "incr key-1 x",
        "touch key-1",
        "touch key-1 x",
        "delete",
        "mg",
        "mg key-1 v v",
        "ms key-1",
        "ms key-1 x",
        "ma key-1 Dx",
        "ma key-1 MZ",
        "mn",
        "verbosity 1",
        "verbosity",
        "gat x key-1",
        "version 1 2 3 4 5",
        "mg key-1 Tx",
        "GET key-1",
        "decr key-2 99999999999999999999",
    ]);
    match line {
        "version 1 2 3 4 5" => "mn\r\n".to_owned(),
        line => format!("{line}\r\n"),
    }
}

/// What one server gave out as CAS uniques, in the order of their appearance.
#[derive(Default)]
pub(super) struct Uniques {
    order: Vec<u64>,
    known: HashMap<u64, usize>,
}

impl Uniques {
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// A command with this server's numbers.
    pub(super) fn fill(&self, command: &str) -> String {
        let numbers = self.order.iter().enumerate();
        numbers.fold(command.to_owned(), |text, (at, unique)| {
            text.replace(&format!("{{{at}}}"), &unique.to_string())
        })
    }

    /// An answer with CAS uniques by their order, and without what time changes: seconds left and seconds since. To a line that
    /// is no command at all, Debian's memcached says `ERROR` where newer ones, and ours, say what is wrong.
    pub(super) fn plain(&mut self, answer: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(answer).into_owned();
        text.split("\r\n").map(|line| self.plain_line(line)).collect()
    }

    fn plain_line(&mut self, line: &str) -> String {
        if line == "CLIENT_ERROR bad command line format" {
            return "ERROR".to_owned();
        }
        let words: Vec<&str> = line.split(' ').collect();
        let is_value = words[0] == "VALUE" && words.len() == 5;
        let is_meta = matches!(words[0], "VA" | "HD" | "NS" | "EX" | "NF" | "EN");
        let plain = words.iter().enumerate().map(|(at, word)| match word.as_bytes() {
            _ if is_value && at == 4 => self.number(word),
            [b'c', digit, ..] if is_meta && digit.is_ascii_digit() => format!("c{}", self.number(&word[1..])),
            [b't', digit, ..] if is_meta && digit.is_ascii_digit() => "t#".to_owned(),
            _ => (*word).to_owned(),
        });
        plain.collect::<Vec<_>>().join(" ")
    }

    fn number(&mut self, text: &str) -> String {
        let Ok(unique) = text.parse::<u64>() else { return text.to_owned() };
        if unique == 0 {
            return "0".to_owned();
        }
        let order = &mut self.order;
        let at = self.known.entry(unique).or_insert_with(|| {
            order.push(unique);
            order.len() - 1
        });
        format!("{{{at}}}")
    }
}
