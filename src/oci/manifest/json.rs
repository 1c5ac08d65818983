//! A lenient JSON reader: values of an unexpected type are reported and skipped instead of ending the parse.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The result of reading a value into its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Null,
    Fits,
    /// It was read, except for the field of this name.
    Misfit(&'static str),
    /// Its type is wrong; nothing was read.
    WrongType,
}

/// The target of a value, with a method for each JSON type; `null` changes nothing.
pub(super) trait JsonTarget {
    fn null(&mut self) {}

    /// Returns whether a list element can be dropped: its list is reported as malformed anyway.
    fn is_empty(&self) -> bool {
        false
    }

    fn text(&mut self, _text: &str) -> Parsed {
        Parsed::WrongType
    }

    fn number(&mut self, _number: u64) -> Parsed {
        Parsed::WrongType
    }

    fn list<'de, A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<Parsed, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Parsed::WrongType)
    }

    fn object<'de, A: MapAccess<'de>>(&mut self, mut object: A) -> Result<Parsed, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Parsed::WrongType)
    }
}

/// Reads a document into its slot.
///
/// # Errors
/// [`serde_json::Error`] if it is not JSON.
pub(super) fn read(bytes: &[u8], slot: &mut impl JsonTarget) -> Result<Parsed, serde_json::Error> {
    // Go also replaces invalid UTF-8.
    let text = String::from_utf8_lossy(bytes);
    let mut json = serde_json::Deserializer::from_str(&text);
    let outcome = Into(slot).deserialize(&mut json)?;
    json.end()?;
    Ok(outcome)
}

/// Reads an object's next value into its slot.
pub(super) fn next<'de, A: MapAccess<'de>>(object: &mut A, slot: &mut impl JsonTarget) -> Result<Parsed, A::Error> {
    object.next_value_seed(Into(slot))
}

/// Reads an object. `take` gets each key in lower case; it reads the value and names the field, or passes.
pub(super) fn fields<'de, A: MapAccess<'de>>(
    mut object: A,
    mut take: impl FnMut(&str, &mut A) -> Result<Option<(&'static str, Parsed)>, A::Error>,
) -> Result<Parsed, A::Error> {
    let mut outcome = Parsed::Fits;
    while let Some(JsonKey(key)) = object.next_key()? {
        match take(&key, &mut object)? {
            Some((name, found)) => outcome = outcome.with(found.misfit(name).unwrap_or(name), found.is_misfit()),
            None => drop(object.next_value::<IgnoredAny>()?),
        }
    }
    Ok(outcome)
}

impl Parsed {
    /// Adds the field's result. Only the first malformed field is reported.
    pub(super) fn with(self, name: &'static str, misfit: bool) -> Self {
        if misfit && self == Self::Fits { Self::Misfit(name) } else { self }
    }

    fn is_misfit(self) -> bool {
        matches!(self, Self::Misfit(_) | Self::WrongType)
    }

    /// Returns the malformed field, or `name` if no inner field is known.
    pub(super) fn misfit(self, name: &'static str) -> Option<&'static str> {
        match self {
            Self::Misfit(inner) => Some(inner),
            Self::WrongType => Some(name),
            Self::Null | Self::Fits => None,
        }
    }
}

/// The elements of a list; of all lists, if the key is repeated.
#[derive(Default)]
pub(super) struct JsonList<T>(pub(super) Vec<T>);

impl<T: JsonTarget + Default> JsonTarget for JsonList<T> {
    fn list<'de, A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<Parsed, A::Error> {
        let mut outcome = Parsed::Fits;
        loop {
            let mut element = T::default();
            match list.next_element_seed(Into(&mut element))? {
                None => return Ok(outcome),
                Some(found) => outcome = outcome.with(found.misfit(ELEMENT).unwrap_or(ELEMENT), found != Parsed::Fits),
            }
            if !element.is_empty() {
                self.0.push(element);
            }
        }
    }
}

/// The objects under a key: one, unless the key is repeated.
#[derive(Default)]
pub(super) struct Each<T>(pub(super) Vec<T>);

impl<T: JsonTarget + Default> JsonTarget for Each<T> {
    fn object<'de, A: MapAccess<'de>>(&mut self, object: A) -> Result<Parsed, A::Error> {
        let mut one = T::default();
        let outcome = one.object(object)?;
        self.0.push(one);
        Ok(outcome)
    }
}

const ELEMENT: &str = "an element of a list";

impl JsonTarget for String {
    fn text(&mut self, text: &str) -> Parsed {
        text.clone_into(self);
        Parsed::Fits
    }
}

impl JsonTarget for u64 {
    fn number(&mut self, number: u64) -> Parsed {
        *self = number;
        Parsed::Fits
    }
}

impl<T: JsonTarget + Default> JsonTarget for Option<T> {
    fn text(&mut self, text: &str) -> Parsed {
        self.get_or_insert_default().text(text)
    }

    fn number(&mut self, number: u64) -> Parsed {
        self.get_or_insert_default().number(number)
    }

    fn object<'de, A: MapAccess<'de>>(&mut self, object: A) -> Result<Parsed, A::Error> {
        self.get_or_insert_default().object(object)
    }
}

struct Into<'a, S>(&'a mut S);

impl<'de, S: JsonTarget> DeserializeSeed<'de> for Into<'_, S> {
    type Value = Parsed;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parsed, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: JsonTarget> Visitor<'de> for Into<'_, S> {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Parsed, E> {
        self.0.null();
        Ok(Parsed::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Parsed, E> {
        Ok(self.0.text(text))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Parsed, E> {
        Ok(self.0.number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Parsed, E> {
        Ok(Parsed::WrongType)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Parsed, E> {
        Ok(Parsed::WrongType)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Parsed, E> {
        Ok(Parsed::WrongType)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Parsed, A::Error> {
        self.0.list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Parsed, A::Error> {
        self.0.object(object)
    }
}

/// An object's key, in lower case.
struct JsonKey(String);

impl<'de> Deserialize<'de> for JsonKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As bytes: half a surrogate pair in a key, which Go replaces, must not end the parse.
        deserializer.deserialize_bytes(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = JsonKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<JsonKey, E> {
        Ok(JsonKey(fold(&String::from_utf8_lossy(key))))
    }
}

/// Folds to lower case as Go does, with the two letters beyond ASCII that fold to ASCII letters.
fn fold(key: &str) -> String {
    let fold = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    };
    key.chars().map(fold).collect()
}
