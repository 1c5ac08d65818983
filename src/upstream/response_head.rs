//! Changes the version of a response's head before `awc` reads it.
//!
//! A body with neither `Content-Length` nor `Transfer-Encoding` ends when the connection closes (RFC 9112, section
//! 6.3). `awc` reads such a body only from an HTTP/1.0 response; from HTTP/1.1 it reads an empty body. So the version
//! in such a head becomes HTTP/1.0. Not changed: responses to HEAD, 1xx, 204 and 304, and redirects and errors without
//! `Connection: close`.

const VERSION: &[u8] = b"HTTP/1.1 ";
/// The maximum length of a head that `awc` accepts.
const MAX_HEAD_BYTES: usize = 128 << 10;

/// The start of a response, buffered until its head is complete.
#[derive(Debug, Default)]
pub(super) struct ResponseHead {
    bytes: Vec<u8>,
    /// The offset at which the search for the head's end continues.
    seen: usize,
}

impl ResponseHead {
    /// Takes the next bytes; returns all buffered ones once the head is complete or too long.
    pub(super) fn take(&mut self, read: &[u8], answers_head: bool) -> Option<Vec<u8>> {
        self.bytes.extend_from_slice(read);
        let from = self.seen.saturating_sub(3);
        let Some(end) = end(&self.bytes[from..]).map(|end| from + end) else {
            self.seen = self.bytes.len();
            return (self.bytes.len() >= MAX_HEAD_BYTES).then(|| self.give());
        };
        if !answers_head && ends_by_close(&self.bytes[..end]) {
            // The last digit of the version.
            self.bytes[VERSION.len() - 2] = b'0';
        }
        Some(self.give())
    }

    /// Returns the buffered bytes, since the connection ended.
    pub(super) fn give(&mut self) -> Vec<u8> {
        std::mem::take(self).bytes
    }
}

/// Returns the length of a head with its empty line, even if its line breaks lack the CR.
fn end(bytes: &[u8]) -> Option<usize> {
    let breaks = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    breaks.into_iter().find_map(|at| match &bytes[at..] {
        [b'\n', ..] => Some(at + 1),
        [b'\r', b'\n', ..] => Some(at + 2),
        _ => None,
    })
}

/// Returns whether the body of this response to a GET lasts until the connection closes. Redirects and errors often
/// have neither a body nor a length and keep their connection: of those it is assumed only with `Connection: close`.
fn ends_by_close(head: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let headers: Vec<_> =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.trim(), value)).collect();
    let has = |wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    let closes = headers.iter().any(|(name, value)| {
        let mut options = value.split(',').map(str::trim);
        name.eq_ignore_ascii_case("connection") && options.any(|option| option.eq_ignore_ascii_case("close"))
    });
    let has_body = match status {
        Some(204 | 304) => false,
        Some(200..=299) => true,
        Some(300..=599) => closes,
        _ => false,
    };
    has_body && !has("content-length") && !has("transfer-encoding")
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Returns the bytes passed on for a response that comes in pieces of `size` bytes.
    fn handed_on(response: &str, size: usize) -> String {
        let (mut head, mut out) = (ResponseHead::default(), Vec::new());
        let mut pieces = response.as_bytes().chunks(size);
        for piece in pieces.by_ref() {
            if let Some(held) = head.take(piece, false) {
                out.extend(held);
                break;
            }
        }
        out.extend(head.give());
        pieces.for_each(|piece| out.extend_from_slice(piece));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_body_without_a_length_is_one_of_http_1_0() {
        for (head, is_patched) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", true),
            ("HTTP/1.1 206 \nContent-Range: bytes 0-3/4\n\n", true),
            ("HTTP/1.1 404 Not Found\r\nconnection: Keep-Alive, Close\r\n\r\n", true),
            ("HTTP/1.1 404 Not Found\r\n\r\n", false),
            ("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\nConnection: close\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", false),
            ("HTTP/1.1 103 Early Hints\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\n\r\n", false),
            ("SSH-2.0-OpenSSH_9.2\r\n\r\n", false),
        ] {
            let response = format!("{head}body");
            for size in [1, 2, 7, 1000] {
                let expected = if is_patched { response.replacen("1.1", "1.0", 1) } else { response.clone() };
                assert_eq!(handed_on(&response, size), expected);
            }
        }
    }

    #[test]
    fn a_head_has_no_body() {
        let head = b"HTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(ResponseHead::default().take(head, true).as_deref(), Some(&head[..]));
    }

    #[test]
    fn a_head_without_an_end_is_not_waited_for() {
        let mut head = ResponseHead::default();
        assert!((0..MAX_HEAD_BYTES / 1024).any(|_| head.take(&[b'a'; 1024], false).is_some()));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_of_whatever_comes(pieces in vec("(HTTP/1.1 200|\r|\n|:|[a-z ]{0,4}|Content-Length)", 0..20), size in 1_usize..9) {
            let response = pieces.concat();
            prop_assume!(!response.is_empty());
            let handed_on = handed_on(&response, size);
            prop_assert!(handed_on == response || handed_on == response.replacen("HTTP/1.1", "HTTP/1.0", 1));
        }
    }
}
