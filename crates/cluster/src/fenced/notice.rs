//! What is told of a publication: on the channel `PREFIX:DATASET_data_changed`, `DATASET_updated:REVISION:UNIX-SECONDS`.

/// How many messages wait for a listener that is slow; it asks for what it has missed anyway.
pub(super) const CHANNEL_SIZE: usize = 256;

/// A publication, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The dataset.
    pub dataset: String,
    /// Its newest revision.
    pub revision: u64,
    /// When it was published, in seconds since the Unix epoch.
    pub at_seconds: u64,
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is listening, from now on or again: what was told before is lost.
    Listening,
    /// Something was published.
    Published(Notice),
    /// It hears nothing for the moment.
    Lost,
}

impl Notice {
    /// Reads what was told. `None`: it is none of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(3, ':');
        let at_seconds = parts.next()?.parse().ok()?;
        let revision = parts.next()?.parse().ok()?;
        let dataset = parts.next()?.strip_suffix("_updated")?;
        Some(Self { dataset: dataset.to_owned(), revision, at_seconds })
    }
}

/// The channel of a dataset.
pub(super) fn channel(prefix: &str, dataset: &str) -> String {
    format!("{prefix}:{dataset}_data_changed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_reads_back_and_nothing_else_does() {
        let notice = Notice { dataset: "eu_rates".to_owned(), revision: 12, at_seconds: 1_700_000_000 };
        assert_eq!(Notice::parse("eu_rates_updated:12:1700000000"), Some(notice));
        for other in ["", "eu_rates:12:17", "x_updated:12", "x_updated:-1:5", "x_updated:1:2:"] {
            assert_eq!(Notice::parse(other), None, "{other}");
        }
    }
}
