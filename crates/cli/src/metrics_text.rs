//! Prometheus' text format, as far as reading counters of our own servers needs it.

/// One line: a name, its labels and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: f64,
}

impl Sample {
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }
}

/// The samples of a page. Lines that are none (comments, or what this does not understand) are passed over.
pub(crate) fn samples(page: &str) -> impl Iterator<Item = Sample> {
    page.lines().filter(|line| !line.starts_with('#')).filter_map(sample)
}

/// The sum over all samples of a name, as a count.
pub(crate) fn total(samples: &[Sample], name: &str) -> u64 {
    samples.iter().filter(|sample| sample.name == name).map(|sample| sample.value).sum::<f64>() as u64
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, quoted) = rest.split_once("=\"")?;
            let (value, after) = unquote(quoted)?;
            labels.push((label.trim_start_matches([',', ' ']).to_owned(), value));
            rest = after;
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// The text up to the closing quote, its escapes taken away, and what follows the quote.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# HELP annulus_requests_total Requests answered.
# TYPE annulus_requests_total counter
annulus_requests_total{op=\"get\",outcome=\"ok\"} 12
annulus_requests_total{op=\"get\",outcome=\"miss\"} 3
annulus_cache_hits_total 12
odd{a=\"x\\\"y\\\\z\\n\"} 1.5e3
not a sample
";

    #[test]
    fn counters_are_read_with_their_labels() {
        let samples: Vec<_> = samples(PAGE).collect();
        assert_eq!(samples.len(), 4);
        assert_eq!((samples[0].label("op"), samples[1].label("outcome")), ("get", "miss"));
        assert_eq!(total(&samples, "annulus_requests_total"), 15);
        assert_eq!(total(&samples, "annulus_cache_hits_total"), 12);
        assert_eq!(total(&samples, "no_such"), 0);
        assert_eq!((samples[3].label("a"), samples[3].value.to_bits()), ("x\"y\\z\n", 1500_f64.to_bits()));
    }
}
