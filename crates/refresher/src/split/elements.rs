//! The elements of an array or the members of an object, one after the other: nothing is collected, however many there are.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Calls `visit` for each element of an array, or for each member of an object with its name, as they stand in the text, until it
/// fails. `None`: the value is neither.
pub(super) fn each_element<'a, E>(
    value: &'a RawValue,
    visit: impl FnMut(Option<&str>, &'a RawValue) -> Result<(), E>,
) -> Option<Result<(), E>> {
    let mut failure = None;
    let reader = Reader { visit, failure: &mut failure };
    let read = serde_json::Deserializer::from_str(value.get()).deserialize_any(reader);
    match (failure, read) {
        (Some(error), _) => Some(Err(error)),
        (None, read) => read.ok().map(Ok),
    }
}

/// A name of a member: borrowed unless it is escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

struct Reader<'f, F, E> {
    visit: F,
    /// Why the visit ended early: no error of the parser's can carry it.
    failure: &'f mut Option<E>,
}

impl<F, E> Reader<'_, F, E> {
    fn visit<'de, D: serde::de::Error>(&mut self, name: Option<&str>, value: &'de RawValue) -> Result<(), D>
    where
        F: FnMut(Option<&str>, &'de RawValue) -> Result<(), E>,
    {
        (self.visit)(name, value).map_err(|error| {
            *self.failure = Some(error);
            D::custom("the visit is over")
        })
    }
}

impl<'de, F, E> Visitor<'de> for Reader<'_, F, E>
where
    F: FnMut(Option<&str>, &'de RawValue) -> Result<(), E>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array or an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut array: A) -> Result<(), A::Error> {
        while let Some(value) = array.next_element()? {
            self.visit(None, value)?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<(), A::Error> {
        while let Some((Name(name), value)) = object.next_entry()? {
            self.visit(Some(&name), value)?;
        }
        Ok(())
    }
}
