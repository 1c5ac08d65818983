//! `Content-Range`: RFC 9110, section 14.4, and the form that chunked pushes use.

use std::{fmt, str::FromStr};

use super::ByteRange;

/// The part of a representation that a message contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The part; `None` in a 416, which has none.
    pub part: Option<ByteRange>,
    /// The whole length in bytes, unless it is `*`. Not less than the part's end.
    pub size: Option<u64>,
}

/// The string is not a byte range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a range is written <first>-<last>, both inclusive, as in bytes 0-9/100")]
pub struct InvalidRange;

impl ContentRange {
    /// Reads the `Content-Range` of a pushed chunk: `<first>-<last>` alone (distribution-spec, "Pushing a blob in
    /// chunks"), or HTTP's own form.
    ///
    /// # Errors
    /// [`InvalidRange`] if the text has neither form.
    pub fn parse_chunk(text: &str) -> Result<ByteRange, InvalidRange> {
        let text = text.strip_prefix("bytes ").unwrap_or(text);
        text.split('/').next().unwrap_or_default().trim().parse()
    }
}

impl FromStr for ContentRange {
    type Err = InvalidRange;

    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let (unit, rest) = text.trim().split_once(' ').ok_or(InvalidRange)?;
        let (part, size) = rest.trim().split_once('/').ok_or(InvalidRange)?;
        let size = if size == "*" { None } else { Some(number(size)?) };
        let part: Option<ByteRange> = if part == "*" { None } else { Some(part.parse()?) };
        let fits = part.is_none_or(|part| size.is_none_or(|size| part.end <= size));
        if unit.eq_ignore_ascii_case("bytes") && fits { Ok(Self { part, size }) } else { Err(InvalidRange) }
    }
}

impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes ")?;
        match self.part {
            Some(part) => write!(f, "{part}/")?,
            None => f.write_str("*/")?,
        }
        match self.size {
            Some(size) => write!(f, "{size}"),
            None => f.write_str("*"),
        }
    }
}

impl FromStr for ByteRange {
    type Err = InvalidRange;

    /// `<first>-<last>`, both inclusive.
    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let (first, last) = text.split_once('-').ok_or(InvalidRange)?;
        let (start, last) = (number(first)?, number(last)?);
        let end = last.checked_add(1).ok_or(InvalidRange)?;
        if start < end { Ok(Self { start, end }) } else { Err(InvalidRange) }
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end - 1)
    }
}

/// Reads digits only: Rust's parser would accept a sign, too.
fn number(text: &str) -> Result<u64, InvalidRange> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidRange);
    }
    text.parse().map_err(|_| InvalidRange)
}

impl ByteRange {
    /// `Content-Range` of a 206, RFC 9110, section 14.4.
    #[must_use]
    pub fn content_range(&self, size: u64) -> String {
        ContentRange { part: Some(*self), size: Some(size) }.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_the_three_forms() {
        for (text, part, size) in [
            ("bytes 3-4/9", Some(ByteRange { start: 3, end: 5 }), Some(9)),
            ("bytes 0-0/*", Some(ByteRange { start: 0, end: 1 }), None),
            ("bytes */9", None, Some(9)),
        ] {
            let read: ContentRange = text.parse().unwrap();
            assert_eq!((read, read.to_string().as_str()), (ContentRange { part, size }, text));
        }
    }

    #[test]
    fn refuses_the_rest() {
        for bad in [
            "",
            "bytes",
            "bytes 4-3/9",
            "bytes 3-9/9",
            "lines 3-4/9",
            "bytes 0-18446744073709551615/*",
            "bytes +3-4/9",
            "bytes -/9",
        ] {
            assert_eq!(bad.parse::<ContentRange>(), Err(InvalidRange), "{bad}");
        }
    }

    #[test]
    fn a_chunk_needs_no_unit_and_no_size() {
        for good in ["3-4", "bytes 3-4", "bytes 3-4/9", "3-4/*"] {
            assert_eq!(ContentRange::parse_chunk(good), Ok(ByteRange { start: 3, end: 5 }), "{good}");
        }
        for bad in ["", "3", "4-3", "a-b", "bytes=3-4", "0-18446744073709551615"] {
            assert_eq!(ContentRange::parse_chunk(bad), Err(InvalidRange), "{bad}");
        }
    }
}
