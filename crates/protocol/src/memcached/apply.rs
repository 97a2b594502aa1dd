//! The semantics of every command on one key, without the store.

use super::change::{Change, NewItem, NewValue, Verdict};
use super::expiry::{Exptime, Now, Ttl, seconds_left};
use super::item::{Item, Marks};
use super::outcome::{Hit, Number, Outcome};
use super::request::{Store, StoreMode};
use super::token::parse_u64;
use super::update::{Delta, Direction, Invalidate, Join, Side, Update, Vivify};

impl<'a> Update<'a> {
    /// Says what becomes of the item: `current` is what is there, `None` where nothing is or it has expired.
    pub fn apply<'v>(&self, current: Option<&Item<'v>>, now: Now) -> Verdict<'v>
    where
        'a: 'v,
    {
        match (self, current) {
            (Self::Store(store), current) => store.apply(current, now),
            (Self::Join(join), current) => join.apply(current, now),
            (Self::Delta(delta), current) => delta.apply(current, now),
            (Self::Get { vivify: Some(vivify), bump, new_cas, .. }, None) => vivify.get(*bump, *new_cas, now),
            (_, None) => keep(Outcome::NotFound),
            (Self::Get { recache, touch, touches_first, bump, .. }, Some(item)) => {
                let verdict = get(item, *recache, *touch, *touches_first, now);
                Verdict { used: *bump, ..verdict }
            }
            (Self::Touch { exptime, shows }, Some(item)) => {
                let ttl = exptime.ttl(now);
                let hit = Outcome::Hit(Hit { ttl_ms: ttl.left_ms(), ..Hit::from(*item) });
                let outcome = if *shows { hit } else { Outcome::Touched };
                Verdict { change: refresh(ttl, item.marks), outcome, used: true }
            }
            (Self::Delete(invalidate), Some(item)) => invalidate.apply(item, now),
            (Self::Show, Some(item)) => Verdict { used: true, ..keep(Outcome::Hit(Hit::from(*item))) },
            (Self::Peek, Some(item)) => keep(Outcome::Hit(Hit::from(*item))),
        }
    }
}

fn keep(outcome: Outcome<'_>) -> Verdict<'_> {
    Verdict { change: Change::Keep, outcome, used: false }
}

fn changed<'v>(change: Change<'v>, outcome: Outcome<'v>) -> Verdict<'v> {
    Verdict { change, outcome, used: false }
}

fn refresh<'v>(ttl: Ttl, marks: Marks) -> Change<'v> {
    if ttl.is_over() { Change::Delete } else { Change::Refresh { ttl_ms: ttl.left_ms(), marks } }
}

/// A write. Of an item that is over already nothing is left but the end of what was there.
fn write(ttl: Ttl, item: NewItem<'_>) -> Change<'_> {
    if ttl.is_over() { Change::Delete } else { Change::Write(NewItem { ttl_ms: ttl.left_ms(), ..item }) }
}

/// The time to live of an item that is there, or the new one.
fn ttl_or(item: &Item<'_>, touch: Option<Exptime>, now: Now) -> Ttl {
    touch.map_or(item.ttl_ms.map_or(Ttl::Never, Ttl::Ms), |exptime| exptime.ttl(now))
}

fn get<'v>(
    item: &Item<'v>,
    recache: Option<Exptime>,
    touch: Option<Exptime>,
    touches_first: bool,
    now: Now,
) -> Verdict<'v> {
    let ttl = ttl_or(item, touch, now);
    let seen = if touches_first { ttl } else { ttl_or(item, None, now) };
    let recaches = match (recache.map(|exptime| exptime.ttl(now)), seen) {
        // Whole seconds, as a client that reads flag `t` counts them.
        (Some(Ttl::Ms(below)), Ttl::Ms(left)) => seconds_left(left) * 1000 < below,
        (Some(Ttl::Ms(_)), Ttl::Over) => true,
        _ => false,
    };
    let won = !item.marks.has(Marks::WON) && (recaches || item.marks.has(Marks::STALE));
    let marks = if won { item.marks | Marks::WON } else { item.marks };
    let change = if won || touch.is_some() { refresh(ttl, marks) } else { Change::Keep };
    changed(change, Outcome::Hit(Hit { item: *item, ttl_ms: ttl.left_ms(), won }))
}

impl Vivify {
    /// An empty item, which this client is to fill.
    fn get<'v>(self, used: bool, new_cas: Option<u64>, now: Now) -> Verdict<'v> {
        let ttl = self.exptime.ttl(now);
        let item = Item { marks: self.marks, ..Item::default() };
        let new = NewItem { fetched: used, cas: new_cas, ..NewItem::new(b"", self.marks | Marks::WON) };
        changed(write(ttl, new), Outcome::Hit(Hit { item, ttl_ms: ttl.left_ms(), won: true }))
    }
}

impl<'a> Store<'a> {
    /// As [`Update::apply`]. The change is a write unless the mode's condition fails.
    pub fn apply<'v>(&self, current: Option<&Item<'v>>, now: Now) -> Verdict<'v>
    where
        'a: 'v,
    {
        let failed = match (self.mode, current) {
            (StoreMode::Set, _) | (StoreMode::Add, None) | (StoreMode::Replace, Some(_)) => None,
            (StoreMode::Add, Some(_)) | (StoreMode::Replace, None) => Some(Outcome::NotStored),
            (StoreMode::Cas { .. }, None) => Some(Outcome::NotFound),
            // 0 is what a client has that has read nothing.
            (StoreMode::Cas { unique: 0, .. }, Some(_)) => Some(Outcome::Exists),
            (StoreMode::Cas { unique, .. }, Some(item)) if unique == item.cas => None,
            (StoreMode::Cas { unique, or_older: true }, Some(item)) if unique < item.cas => {
                return self.store_stale(item);
            }
            (StoreMode::Cas { .. }, Some(_)) => Some(Outcome::Exists),
        };
        failed.map_or_else(|| changed(write(self.exptime.ttl(now), self.new_item()), self.stored()), keep)
    }

    /// The value is older than the item that it replaces: it may be shown, and somebody may still bring a better one.
    fn store_stale<'v>(&self, item: &Item<'v>) -> Verdict<'v>
    where
        'a: 'v,
    {
        let marks = self.marks | Marks::STALE | (item.marks & Marks::WON);
        let new = NewItem { ttl_ms: item.ttl_ms, marks, ..self.new_item() };
        changed(Change::Write(new), self.stored())
    }

    fn new_item(&self) -> NewItem<'a> {
        NewItem { flags: self.flags, cas: self.new_cas, ..NewItem::new(self.value, self.marks) }
    }

    fn stored<'v>(&self) -> Outcome<'v> {
        Outcome::Stored { cas: 0, value_bytes: self.value.len() }
    }
}

impl<'a> Join<'a> {
    fn apply<'v>(&self, current: Option<&Item<'v>>, now: Now) -> Verdict<'v>
    where
        'a: 'v,
    {
        let stored = |value_bytes| Outcome::Stored { cas: 0, value_bytes };
        let Some(item) = current else {
            let Some((flags, vivify)) = self.vivify else { return keep(Outcome::NotStored) };
            let new = NewItem { flags, cas: self.new_cas, ..NewItem::new(self.value, vivify.marks) };
            return changed(write(vivify.exptime.ttl(now), new), stored(self.value.len()));
        };
        if self.cas.is_some_and(|cas| cas != item.cas) {
            return keep(Outcome::Exists);
        }
        let value = match self.side {
            Side::Before => NewValue::Joined(self.value, item.value),
            Side::After => NewValue::Joined(item.value, self.value),
        };
        let new = NewItem { value, flags: item.flags, cas: self.new_cas, ..NewItem::new(b"", Marks::NONE) };
        changed(write(ttl_or(item, None, now), new), stored(value.len()))
    }
}

impl Delta {
    fn apply<'v>(&self, current: Option<&Item<'v>>, now: Now) -> Verdict<'v> {
        let Some(item) = current else { return self.create(now) };
        if item.value.is_empty() {
            return keep(Outcome::NotANumber);
        }
        if self.cas.is_some_and(|cas| cas != item.cas) {
            return keep(Outcome::Exists);
        }
        let Some(before) = parse_u64(item.value) else { return keep(Outcome::NotANumber) };
        let number = match self.direction {
            Direction::Up => before.wrapping_add(self.by),
            Direction::Down => before.saturating_sub(self.by),
        };
        let value = NewValue::Number { number, width: item.value.len() };
        // A number that has grown moves to a new item, which has no marks. Otherwise the item is changed in place.
        let in_place = value.len() == item.value.len();
        let marks = if in_place { item.marks } else { Marks::NONE };
        let fetched = in_place && item.fetched;
        let new =
            NewItem { value, flags: item.flags, fetched, cas: self.new_cas, ..NewItem::new(b"", marks) };
        let ttl = ttl_or(item, self.touch, now);
        let number = Number { number, cas: 0, ttl_before_ms: item.ttl_ms, ttl_ms: ttl.left_ms() };
        changed(write(ttl, new), Outcome::Number(number))
    }

    fn create<'v>(&self, now: Now) -> Verdict<'v> {
        let Some((number, vivify)) = self.vivify else { return keep(Outcome::NotFound) };
        let ttl = vivify.exptime.ttl(now);
        let value = NewValue::Number { number, width: 0 };
        let new = NewItem { value, cas: self.new_cas, ..NewItem::new(b"", vivify.marks) };
        let number = Number { number, cas: 0, ttl_before_ms: None, ttl_ms: ttl.left_ms() };
        changed(write(ttl, new), Outcome::Number(number))
    }
}

impl Invalidate {
    fn apply<'v>(&self, item: &Item<'v>, now: Now) -> Verdict<'v> {
        if self.cas.is_some_and(|cas| cas != item.cas) {
            return keep(Outcome::Exists);
        }
        let stale = if self.stale { Marks::STALE } else { Marks::NONE };
        let change = match self.remove_value {
            None if !self.stale => Change::Delete,
            None => {
                let new = NewItem {
                    value: NewValue::Same,
                    flags: item.flags,
                    fetched: item.fetched,
                    cas: self.new_cas,
                    ..NewItem::new(b"", (item.marks | stale).without(Marks::WON))
                };
                write(ttl_or(item, self.touch, now), new)
            }
            Some(flags) => {
                let new = NewItem { flags, cas: self.new_cas, ..NewItem::new(b"", stale) };
                write(self.touch.unwrap_or_default().ttl(now), new)
            }
        };
        changed(change, Outcome::Deleted)
    }
}
