//! Headers of clients, proxies and upstreams.

use std::{net::IpAddr, str};

use actix_web::http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};
use entrepot::{
    config::Cidr,
    http::Forwarded,
    oci::{ByteRange, ContentRange, MAX_RANGES, RangeRequest},
    upstream::Challenge,
};

/// Eight bytes of a size, then a `Range`.
pub(super) fn range(data: &[u8]) {
    let Some((size, header)) = data.split_first_chunk() else { return };
    let (size, Ok(header)) = (u64::from_le_bytes(*size), str::from_utf8(header)) else { return };
    let request = RangeRequest::parse(Some(header), size);
    let ranges = match &request {
        RangeRequest::Part(range) => std::slice::from_ref(range),
        RangeRequest::Parts(ranges) => ranges.as_slice(),
        RangeRequest::Whole | RangeRequest::TooManyRanges | RangeRequest::Unsatisfiable => return,
    };
    for range in ranges {
        assert!(range.start < range.end && range.end <= size, "{header:?} of {size}: {range:?}");
        assert_eq!(range.len(), range.end - range.start);
        let said = ContentRange { part: Some(*range), size: Some(size) };
        assert_eq!(range.content_range(size).parse(), Ok(said));
    }
    let total: u128 = ranges.iter().map(|range| u128::from(range.len())).sum();
    assert!(total <= u128::from(size) && ranges.len() <= MAX_RANGES, "{header:?} of {size}");
    let again: Vec<_> = ranges.iter().map(ToString::to_string).collect();
    let again = format!("bytes={}", again.join(","));
    assert_eq!(RangeRequest::parse(Some(&again), size), request, "{header:?} {again}");
}

/// `Content-Range` of a response, and of a pushed chunk.
pub(super) fn content_range(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(range) = text.parse::<ContentRange>() {
        assert_eq!(range.to_string().parse(), Ok(range));
        assert!(range.part.is_none_or(|part| part.start < part.end && range.size.is_none_or(|size| part.end <= size)));
    }
    if let Ok(chunk) = ContentRange::parse_chunk(text) {
        assert!(chunk.start < chunk.end && chunk.len() > 0);
        assert_eq!(chunk.to_string().parse::<ByteRange>(), Ok(chunk));
        assert_eq!(ContentRange::parse_chunk(&format!("bytes {chunk}/*")), Ok(chunk));
    }
}

/// `WWW-Authenticate`; a written challenge is parsed to the same values.
pub(super) fn challenge(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let read = Challenge::parse(text);
    assert!(read.len() <= text.len());
    for challenge in &read {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        assert!(!challenge.scheme.is_empty() && challenge.scheme.bytes().all(is_token), "{challenge:?}");
        assert_eq!(challenge.scheme, challenge.scheme.to_ascii_lowercase());
        for known in ["realm", "service", "scope", "error"] {
            assert!(challenge.param(known).is_none_or(|value| value.len() <= text.len()));
        }
    }
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
    let written = Challenge::parse(&format!("Negotiate, Bearer realm=\"{quoted}\", service=\"{quoted}\""));
    assert_eq!(written.iter().map(|one| one.scheme.as_str()).collect::<Vec<_>>(), ["negotiate", "bearer"]);
    assert_eq!([written[1].param("realm"), written[1].param("service")], [Some(text); 2]);
}

/// Lines of `Forwarded` and `X-Forwarded-*`, each with a letter in front that selects the header: a trusted proxy
/// determines the client, and text of others before it makes no difference.
pub(super) fn forwarded(data: &[u8]) {
    let trusted: [Cidr; 2] = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network"));
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let (stranger, proxy): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [10, 0, 0, 1].into());
    let lines: Vec<_> = data.split(|byte| *byte == b'\n').filter_map(line).collect();
    let headers = HeaderMap::from_iter(lines.clone());
    assert_eq!(Forwarded::read(&headers).client(stranger, &trusted), stranger);
    assert_eq!(Forwarded::read(&headers).client(proxy, &[]), proxy);
    let client = Forwarded::read(&headers).client(proxy, &trusted);
    if is_trusted(client) {
        return;
    }
    for (name, value) in [("x-forwarded-for", "6.6.6.6, 10.0.0.3"), ("forwarded", "for=6.6.6.6")] {
        let name = HeaderName::from_static(name);
        // If a proxy writes the older header, the newer one is ignored.
        if !headers.contains_key(&name) {
            continue;
        }
        let invented = [(name, HeaderValue::from_static(value))].into_iter().chain(lines.clone());
        assert_eq!(Forwarded::read(&HeaderMap::from_iter(invented)).client(proxy, &trusted), client);
    }
}

fn line(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let (letter, value) = line.split_first()?;
    let name = match letter {
        b'f' => HeaderName::from_static("x-forwarded-for"),
        b'h' => HeaderName::from_static("x-forwarded-host"),
        b'p' => HeaderName::from_static("x-forwarded-proto"),
        _ => FORWARDED,
    };
    Some((name, HeaderValue::from_bytes(value).ok()?))
}
