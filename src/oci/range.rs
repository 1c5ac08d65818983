//! Byte ranges: RFC 9110, section 14.

use std::ops::Range;

use http_range::{HttpRange, HttpRangeParseError};

/// A non-empty run of bytes within a representation: `start` inclusive, `end` exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte's offset.
    pub start: u64,
    /// One past the last byte's offset: greater than `start`.
    pub end: u64,
}

impl ByteRange {
    /// The number of bytes: at least one. (There is no `is_empty`: a range never is.)
    #[expect(clippy::len_without_is_empty, reason = "a byte range is never empty")]
    #[must_use]
    pub fn len(&self) -> u64 {
        self.end - self.start
    }
}

impl From<ByteRange> for Range<u64> {
    fn from(range: ByteRange) -> Self {
        range.start..range.end
    }
}

/// The most ranges in one request: as many as podman asks for if it pulls a layer of which it has a part.
pub const MAX_RANGES: usize = 1024;

/// The result of a `Range` header for a representation of known size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeRequest {
    /// Everything: no header, a malformed one, ranges that together exceed the whole, or several that reach the end
    /// (RFC 9110, section 14.2, lets a server ignore those). A range to the end of a blob that cannot be cached is
    /// hashed from the start.
    Whole,
    /// One range: 206.
    Part(ByteRange),
    /// Several, in the order of the request: 206 in parts. Together they are not larger than the whole.
    Parts(Vec<ByteRange>),
    /// More than [`MAX_RANGES`].
    TooManyRanges,
    /// Beyond the end: 416.
    Unsatisfiable,
}

impl RangeRequest {
    /// Parses a `Range` header's value for a representation of `size` bytes. Of several ranges, those beyond the end
    /// are left out.
    #[must_use]
    pub fn parse(header: Option<&str>, size: u64) -> Self {
        match header.map(|text| HttpRange::parse(text, size)) {
            Some(Ok(ranges)) => Self::of(&ranges, size),
            Some(Err(HttpRangeParseError::NoOverlap)) => Self::Unsatisfiable,
            // A backwards range: RFC 9110, section 15.5.17, lets a server refuse it, and an error helps the client
            // more.
            Some(Err(HttpRangeParseError::InvalidRange)) if header.is_some_and(is_backwards) => Self::Unsatisfiable,
            _ => Self::Whole,
        }
    }

    fn of(ranges: &[HttpRange], size: u64) -> Self {
        let range = |range: &HttpRange| ByteRange { start: range.start, end: range.start + range.length };
        let ranges: Vec<_> = ranges.iter().filter(|range| range.length > 0).map(range).collect();
        let total = ranges.iter().map(ByteRange::len).fold(0, u64::saturating_add);
        match ranges.as_slice() {
            [] => Self::Whole,
            [one] => Self::Part(*one),
            many if many.len() > MAX_RANGES => Self::TooManyRanges,
            many if total > size || many.iter().filter(|range| range.end == size).count() > 1 => Self::Whole,
            _ => Self::Parts(ranges),
        }
    }
}

/// Returns whether a range's last byte comes before its first.
fn is_backwards(header: &str) -> bool {
    let ends = header.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let number = |text: &str| text.trim().parse::<u64>().ok();
    ends.and_then(|(first, last)| Some(number(last)? < number(first)?)).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_three_forms() {
        let part = |start, end| RangeRequest::Part(ByteRange { start, end });
        for (header, expected) in [
            ("bytes=0-", part(0, 100)),
            ("bytes=10-19", part(10, 20)),
            ("bytes=-5", part(95, 100)),
            ("bytes=90-1000", part(90, 100)),
            ("bytes=-1000", part(0, 100)),
            ("bytes=100-", RangeRequest::Unsatisfiable),
            ("bytes=-0", RangeRequest::Unsatisfiable),
            ("bytes=5-4", RangeRequest::Unsatisfiable),
            ("lines=1-2", RangeRequest::Whole),
            ("bytes=", RangeRequest::Whole),
        ] {
            assert_eq!(RangeRequest::parse(Some(header), 100), expected, "{header}");
        }
        assert_eq!(RangeRequest::parse(None, 100), RangeRequest::Whole);
        assert_eq!(RangeRequest::parse(Some("bytes=0-"), 0), RangeRequest::Unsatisfiable);
    }

    #[test]
    fn several_ranges_are_bounded() {
        let parts = |ranges: &[(u64, u64)]| {
            RangeRequest::Parts(ranges.iter().map(|(start, end)| ByteRange { start: *start, end: *end }).collect())
        };
        for (header, expected) in [
            ("bytes=0-1,5-6", parts(&[(0, 2), (5, 7)])),
            ("bytes=90-, 0-9 ,80-84", parts(&[(90, 100), (0, 10), (80, 85)])),
            ("bytes=90-, 0-9 ,-5", RangeRequest::Whole),
            ("bytes=-1,-1", RangeRequest::Whole),
            ("bytes=0-9,5-14", parts(&[(0, 10), (5, 15)])),
            ("bytes=0-1,100-200", RangeRequest::Part(ByteRange { start: 0, end: 2 })),
            ("bytes=100-,200-", RangeRequest::Unsatisfiable),
            ("bytes=0-,0-", RangeRequest::Whole),
            ("bytes=0-98,0-0,0-0", RangeRequest::Whole),
            ("bytes=0-1,x", RangeRequest::Whole),
        ] {
            assert_eq!(RangeRequest::parse(Some(header), 100), expected, "{header}");
        }
        let many = |count: usize| format!("bytes={}", vec!["0-0"; count].join(","));
        assert!(
            matches!(RangeRequest::parse(Some(&many(1024)), 5000), RangeRequest::Parts(parts) if parts.len() == 1024)
        );
        assert_eq!(RangeRequest::parse(Some(&many(1025)), 5000), RangeRequest::TooManyRanges);
        assert_eq!(RangeRequest::parse(Some(&many(1024)), 1023), RangeRequest::Whole);
    }

    #[test]
    fn writes_content_range() {
        assert_eq!(ByteRange { start: 3, end: 5 }.content_range(9), "bytes 3-4/9");
    }
}
