//! `multipart/byteranges`: several ranges of a blob in one response (RFC 9110, section 14.6).

use std::collections::VecDeque;

use bytes::Bytes;
use uuid::Uuid;

use crate::oci::ByteRange;

/// A part of a response body.
#[derive(Debug)]
pub(in crate::http) enum Part {
    /// Never empty.
    Text(Bytes),
    Range(ByteRange),
}

/// A body of several ranges. They keep the order of the request and are never merged, because clients match the parts
/// to their ranges by position.
#[derive(Debug)]
pub(in crate::http) struct Multipart {
    pub(in crate::http) content_type: String,
    pub(in crate::http) parts: VecDeque<Part>,
    /// The length of the whole body, in bytes.
    pub(in crate::http) length: u64,
}

impl Multipart {
    /// Returns the body for a blob of `size` bytes with the type `content_type`.
    pub(in crate::http) fn new(ranges: &[ByteRange], size: u64, content_type: &str) -> Self {
        // Random, so that no content can be crafted to contain it.
        let boundary = Uuid::new_v4().simple().to_string();
        let mut multipart = Self {
            content_type: format!("multipart/byteranges; boundary={boundary}"),
            parts: VecDeque::with_capacity(2 * ranges.len() + 1),
            length: 0,
        };
        for (number, range) in ranges.iter().enumerate() {
            let (before, content_range) = (if number == 0 { "" } else { "\r\n" }, range.content_range(size));
            multipart.text(format!(
                "{before}--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {content_range}\r\n\r\n"
            ));
            multipart.length += range.len();
            multipart.parts.push_back(Part::Range(*range));
        }
        multipart.text(format!("\r\n--{boundary}--\r\n"));
        multipart
    }

    fn text(&mut self, text: String) {
        self.length += text.len() as u64;
        self.parts.push_back(Part::Text(text.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_that_of_all_parts() {
        let ranges = [ByteRange { start: 7, end: 9 }, ByteRange { start: 0, end: 5 }];
        let multipart = Multipart::new(&ranges, 10, "a/b");
        let length = |part: &Part| match part {
            Part::Text(text) => text.len() as u64,
            Part::Range(range) => range.len(),
        };
        assert_eq!(multipart.length, multipart.parts.iter().map(length).sum::<u64>());
        let range = |part: &Part| match part {
            Part::Range(range) => Some(*range),
            Part::Text(_) => None,
        };
        assert_eq!(multipart.parts.iter().filter_map(range).collect::<Vec<_>>(), ranges, "as they were asked for");
        let other = Multipart::new(&ranges, 10, "a/b");
        assert_ne!(multipart.content_type, other.content_type, "nobody knows a boundary before");
    }
}
