//! Several ranges in one request, as podman (zstd:chunked) and the stargz snapshotter request the missing parts of a
//! layer: RFC 9110, section 14.

use std::{thread, time::Duration};

use crate::support::{
    http::{self, BodyEnd, Response},
    images::{Blob, Format, Image},
    server::{Server, Setup},
    upstream::{Fault, Gate, Kind, Rule, Upstream},
    wait_until,
};

const REPOSITORY: &str = "library/chunked";
const SOON: Duration = Duration::from_secs(30);

/// First and last byte.
type Range = (usize, usize);

fn header(ranges: &[Range]) -> String {
    let ranges: Vec<_> = ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect();
    format!("bytes={}", ranges.join(","))
}

fn ask(server: &Server, blob: &Blob, ranges: &str) -> Response {
    server.blob(REPOSITORY, &blob.digest).header("Range", ranges).send()
}

/// The parts of a `multipart/byteranges`, read as containers/image reads them: their number is checked, and each part
/// gives its range.
fn parts(response: Response, blob: &Blob) -> Vec<(Range, Vec<u8>)> {
    assert_eq!(response.status, 206);
    let boundary = response.header("content-type").unwrap().strip_prefix("multipart/byteranges; boundary=").unwrap();
    let (open, close) = (format!("--{boundary}\r\n").into_bytes(), format!("\r\n--{boundary}--\r\n").into_bytes());
    let (between, length) = ([b"\r\n", &open[..]].concat(), response.length());
    let body = response.body();
    assert_eq!((body.end, Some(body.bytes.len() as u64)), (BodyEnd::Complete, length));
    let mut rest = body.bytes.strip_prefix(&open[..]).unwrap().strip_suffix(&close[..]).unwrap();
    let find = |text: &[u8], wanted: &[u8]| text.windows(wanted.len()).position(|window| window == wanted);
    let mut parts = Vec::new();
    loop {
        let head_ends = find(rest, b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&rest[..head_ends]).unwrap();
        let range = head.strip_prefix("Content-Type: application/octet-stream\r\nContent-Range: bytes ").unwrap();
        let range = range.strip_suffix(&format!("/{}", blob.len())).unwrap().split_once('-').unwrap();
        let range = (range.0.parse().unwrap(), range.1.parse().unwrap());
        let (content, more) = rest[head_ends + 4..].split_at(range.1 - range.0 + 1);
        parts.push((range, content.to_owned()));
        if more.is_empty() {
            return parts;
        }
        rest = more.strip_prefix(&between[..]).unwrap();
    }
}

/// The response has exactly these parts of the blob, in this order.
fn has_parts(response: Response, blob: &Blob, ranges: &[Range]) {
    let parts = parts(response, blob);
    assert_eq!(parts.iter().map(|(range, _)| *range).collect::<Vec<_>>(), ranges);
    for ((first, last), content) in parts {
        assert!(content == blob.bytes[first..=last], "{first}-{last}");
    }
}

/// `count` ranges of `length` bytes, spread over `size` bytes.
fn spread(count: usize, length: usize, size: usize) -> Vec<Range> {
    (0..count).map(|number| number * (size / count)).map(|first| (first, first + length - 1)).collect()
}

/// Of cached blobs: in the order of the request, overlapping or not, in any form.
#[test]
fn several_ranges_come_in_parts() {
    let (upstream, image) = (Upstream::plain(), Image::of_size(Format::Oci, 870, 300_000));
    upstream.add(REPOSITORY, "latest", &image);
    let (server, layer) = (Server::mirroring(&upstream), image.layer());
    server.pull(REPOSITORY, "latest", &image);
    let size = layer.len();
    for (ranges, expected) in [
        ("bytes=0-99,200-299".to_owned(), vec![(0, 99), (200, 299)]),
        ("bytes=200-299, 0-99".into(), vec![(200, 299), (0, 99)]),
        ("bytes=0-99,50-149,-7".into(), vec![(0, 99), (50, 149), (size - 7, size - 1)]),
        (format!("bytes=0-0,{}-,{}-", size - 1000, size), vec![(0, 0), (size - 1000, size - 1)]),
        (header(&spread(1024, 100, size)), spread(1024, 100, size)),
    ] {
        let answer = ask(&server, layer, &ranges);
        assert_eq!(answer.header("docker-content-digest"), Some(layer.digest.as_str()), "{ranges}");
        assert_eq!((answer.header("content-range"), answer.header("accept-ranges")), (None, Some("bytes")), "{ranges}");
        has_parts(answer, layer, &expected);
    }
    let one = ask(&server, layer, &format!("bytes=5-6,{size}-"));
    assert_eq!(one.header("content-range"), Some(format!("bytes 5-6/{size}").as_str()), "one is left, and no part");
    assert!(one.body().bytes == layer.bytes[5..7]);
}

/// Ranges larger than the blob in all give the blob; too many are refused so that clients ask for fewer; ranges beyond
/// the end are 416; and `If-Range` and HEAD have precedence.
#[test]
fn several_ranges_are_bounded() {
    let (server, layer) = (Setup::hosting().start(), Blob::noise(871, 100_000));
    server.target().blob(REPOSITORY, &layer);
    let size = layer.len();
    for whole in ["bytes=0-,0-".to_owned(), format!("bytes=0-{},1-2", size - 1), header(&vec![(0, size / 2); 100])] {
        let answer = ask(&server, &layer, &whole);
        assert_eq!((answer.status, answer.summary().digest), (200, layer.digest.clone()), "{whole}");
    }
    let many = ask(&server, &layer, &header(&vec![(0, 0); 1025]));
    assert_eq!((many.status, many.error_code().as_str()), (400, "RANGE_INVALID"));
    let beyond = ask(&server, &layer, &format!("bytes={size}-,{}-", size + 1));
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some(format!("bytes */{size}").as_str())));
    let conditional = |validator: &str| {
        let request = server.blob(REPOSITORY, &layer.digest).header("Range", "bytes=0-1,5-6");
        request.header("If-Range", validator).send()
    };
    assert_eq!(conditional("\"another\"").status, 200);
    has_parts(conditional(&format!("\"{}\"", layer.digest)), &layer, &[(0, 1), (5, 6)]);
    let head = http::head(&server.v2(&format!("{REPOSITORY}/blobs/{}", layer.digest))).header("Range", "bytes=0-1,5-6");
    let head = head.send();
    assert_eq!((head.status, head.length()), (200, Some(size as u64)), "a HEAD has no ranges");
}

/// Podman's partial pull of an uncached layer: its table of contents, at the end, is returned ahead of the fill; its
/// hundreds of parts follow the fill, and no byte of them is fetched twice.
#[test]
fn a_partial_pull_of_a_cold_layer_fetches_it_once() {
    let (upstream, layer, gate) = (Upstream::plain(), Blob::window(4_000_000, 40 << 20), Gate::new());
    upstream.add_blob(REPOSITORY, &layer);
    upstream.fault(Rule::on(Kind::Blob, Fault::Gate(1 << 20, gate.clone())));
    let server = Server::mirroring(&upstream);
    let size = layer.len();
    let contents = [(size - 200_000, size - 100_001), (size - 90_000, size - 1001)];
    has_parts(ask(&server, &layer, &header(&contents)), &layer, &contents);
    assert_eq!(upstream.count("GET", Kind::Blob), 2, "the fill, and what was fetched ahead for both");
    let wanted = spread(300, 20_000, size);
    thread::scope(|scope| {
        let pulls: Vec<_> = (0..3).map(|_| scope.spawn(|| ask(&server, &layer, &header(&wanted)))).collect();
        let answers: Vec<_> = pulls.into_iter().map(|pull| pull.join().unwrap()).collect();
        gate.open();
        answers.into_iter().for_each(|answer| has_parts(answer, &layer, &wanted));
    });
    assert_eq!(upstream.count("GET", Kind::Blob), 2, "nothing more");
    let twice = (1 << 20) - 1;
    wait_until("the fill to end", SOON, || upstream.sent(Kind::Blob) >= size as u64 + twice);
    assert_eq!(
        upstream.sent(Kind::Blob),
        size as u64 + twice,
        "all of it, and the place of the table of contents once more"
    );
    has_parts(ask(&server, &layer, &header(&wanted)), &layer, &wanted);
}

/// Bytes that do not match the digest are not completed, in parts or not.
#[test]
fn parts_of_a_wrong_blob_are_cut() {
    let (upstream, layer) = (Upstream::plain(), Blob::noise(872, 400_000));
    upstream.add_blob(REPOSITORY, &layer);
    upstream.fault(Rule::on(Kind::Blob, Fault::Corrupt(200_000)));
    let server = Server::mirroring(&upstream);
    let answer = ask(&server, &layer, &header(&[(0, 99), (399_000, 399_999)]));
    assert_eq!((answer.status, answer.body().end), (206, BodyEnd::Cut));
}

/// Several ranges of a blob that is not cached cost its upstream no more than the blob does.
#[test]
fn several_ranges_of_what_is_not_kept_are_the_blob() {
    let (upstream, layer) = (Upstream::plain(), Blob::window(5_000, 400_000));
    upstream.add_blob(REPOSITORY, &layer);
    let server = Setup::mirroring(&upstream.url()).variable("REGISTRY_STORAGE_MAXOBJECT", "1KB").start();
    let (inside, last) = (header(&spread(100, 50, layer.len())), format!("bytes={}", ["-1"; 100].join(",")));
    for (asked, ranges) in [inside, last].into_iter().enumerate() {
        let answer = ask(&server, &layer, &ranges);
        assert_eq!((answer.status, answer.summary().digest), (200, layer.digest.clone()), "{ranges}");
        assert_eq!(upstream.count("GET", Kind::Blob), asked + 1, "{ranges}");
    }
}
