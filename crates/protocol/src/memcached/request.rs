//! Requests: what is asked for, and how the answer is to look.

use super::expiry::Exptime;
use super::item::Marks;
use super::key::WireKey;
use super::token::Tokens;
use super::update::Update;
use super::wants::Wants;

/// One request of a client.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What is to be done.
    pub action: Action<'a>,
    /// How the answer is to look. It borrows nothing, so it can wait for an outcome that comes later.
    pub wants: Wants,
}

/// What a request asks of the store.
///
/// Each action on one key can be had as an [`Update`] with [`Action::update`]; a server needs only that, and takes the
/// other variants where it has something faster.
#[derive(Debug, Clone, Copy)]
pub enum Action<'a> {
    /// `get`, `gets`: reads each key and changes nothing. An outcome for each, in order, then the end.
    Read(Keys<'a>),
    /// `gat`, `gats`: sets the time to live of each key and reads it. An outcome for each, in order, then the end.
    ReadTouch {
        /// One or more; none in `gat 0`, which memcached answers with nothing but the end.
        keys: Keys<'a>,
        /// The new expiry.
        exptime: Exptime,
    },
    /// `mg` without `N`, `R` and `T`: a read. Its update changes something only where the item is stale and nobody has
    /// been told to replace it, so a server reads first and applies the update to what it found.
    MetaRead {
        /// The key.
        key: WireKey<'a>,
        /// To be applied to what was read.
        update: Update<'a>,
        /// Whether the read counts as a use of the item: not with flag `u`.
        bump: bool,
    },
    /// A write of a whole value.
    Store(Store<'a>),
    /// A read, and a write that depends on it.
    Update {
        /// The key.
        key: WireKey<'a>,
        /// To be applied to what is there.
        update: Update<'a>,
    },
    /// `delete`, and `md` without `C`, `I` and `x`: removes the item whatever it is.
    Delete {
        /// The key.
        key: WireKey<'a>,
    },
    /// `me`: describes the item, without counting as a use of it.
    Debug {
        /// The key.
        key: WireKey<'a>,
    },
    /// `flush_all`: every item that is there at that time is gone.
    FlushAll {
        /// When: 0 and below mean now.
        at: Exptime,
    },
    /// `stats`.
    Stats(Topic),
    /// `version`.
    Version,
    /// `mn`: every answer before it has been given. It asks nothing of the store.
    Noop,
    /// `quit`: nothing is answered and the connection ends.
    Quit,
    /// Answered with these bytes, whatever the store says; they may be none.
    Answer(&'static [u8]),
}

/// Which figures `stats` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// `stats`.
    General,
    /// `stats settings`.
    Settings,
    /// `stats items`.
    Items,
    /// `stats slabs`.
    Slabs,
    /// `stats sizes`.
    Sizes,
    /// `stats conns`.
    Connections,
    /// `stats reset`: sets the counters to zero.
    Reset,
    /// `stats cachedump`: names some items.
    CacheDump {
        /// So many at most; 0: as many as fit.
        limit: u32,
    },
    /// `stats detail`: counts by the part of a key in front of its first colon.
    Detail(Detail),
}

/// What `stats detail` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Start counting.
    On,
    /// Stop counting.
    Off,
    /// Show the counts.
    Dump,
}

/// The keys of a request, read off its line one by one.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'a>(&'a [u8]);

impl<'a> Keys<'a> {
    /// Of the rest of a line.
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self(rest)
    }

    /// The keys in order; the same key may come twice.
    pub fn iter(self) -> KeyIter<'a> {
        KeyIter(Tokens::new(self.0))
    }
}

impl<'a> IntoIterator for Keys<'a> {
    type Item = WireKey<'a>;
    type IntoIter = KeyIter<'a>;

    fn into_iter(self) -> KeyIter<'a> {
        self.iter()
    }
}

/// Iterates over [`Keys`].
#[derive(Debug, Clone)]
pub struct KeyIter<'a>(Tokens<'a>);

impl<'a> Iterator for KeyIter<'a> {
    type Item = WireKey<'a>;

    fn next(&mut self) -> Option<WireKey<'a>> {
        self.0.next().map(WireKey::plain)
    }
}

/// A write of a whole value.
#[derive(Debug, Clone, Copy)]
pub struct Store<'a> {
    /// The key.
    pub key: WireKey<'a>,
    /// What must hold for it.
    pub mode: StoreMode,
    /// The client's flags.
    pub flags: u32,
    /// When the item expires.
    pub exptime: Exptime,
    /// The value.
    pub value: &'a [u8],
    /// The marks of the new item.
    pub marks: Marks,
    /// The CAS unique that the new item shall have (flag `E`).
    pub new_cas: Option<u64>,
}

/// What must hold for a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreMode {
    /// Nothing.
    Set,
    /// No item is there.
    Add,
    /// An item is there.
    Replace,
    /// An item with this CAS unique is there.
    Cas {
        /// The CAS unique.
        unique: u64,
        /// Whether an older one stores the value as well, marked stale (flag `I`).
        or_older: bool,
    },
}

impl Store<'_> {
    /// Whether it is written whatever is there.
    pub fn is_unconditional(&self) -> bool {
        self.mode == StoreMode::Set
    }
}

impl<'a> Action<'a> {
    /// The key and the update that do the same, for an action on one key.
    pub fn update(&self) -> Option<(WireKey<'a>, Update<'a>)> {
        match *self {
            Self::MetaRead { key, update, .. } | Self::Update { key, update } => Some((key, update)),
            Self::Store(store) => Some((store.key, Update::Store(store))),
            Self::Delete { key } => Some((key, Update::DELETE)),
            Self::Debug { key } => Some((key, Update::Peek)),
            _ => None,
        }
    }
}
