//! Large blobs are sent from their files by the kernel (`sendfile`): nothing of it shows on the wire, and whatever ends
//! in the middle ends well.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    path::PathBuf,
    thread,
    time::Duration,
};

use crate::support::{
    http::BodyEnd,
    images::{Blob, Format, Image},
    ports::Port,
    raw,
    rng::Rng,
    scrape::Scrape,
    scratch,
    server::{Server, Setup},
    upstream::Upstream,
    wait_until,
};

const REPOSITORY: &str = "library/large";
/// More than is sent at a time, and no multiple of it.
const SIZE: usize = 5_000_123;
const SOON: Duration = Duration::from_secs(20);

/// A server that has an image of one large layer cached.
fn warm(setup: impl FnOnce(Setup) -> Setup) -> (Upstream, Server, Image) {
    let (upstream, image) = (Upstream::plain(), Image::of_layers(Format::Oci, &[Blob::noise(66_000, SIZE)]));
    upstream.add(REPOSITORY, "1", &image);
    let server = setup(Setup::mirroring(&upstream.url())).start();
    server.pull(REPOSITORY, "1", &image);
    (upstream, server, image)
}

fn data_file(server: &Server, digest: &str) -> PathBuf {
    let hex = digest.strip_prefix("sha256:").unwrap();
    let file = scratch::files(server.data()).into_iter().find(|file| file.ends_with(format!("{hex}/data"))).unwrap();
    server.data().join(file)
}

fn descriptors(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap().count()
}

/// A request for a range of the blob, on a connection that stays open.
fn ask(blob: &Blob, first: usize, last: usize) -> String {
    let path = format!("/v2/{REPOSITORY}/blobs/{}", blob.digest);
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nRange: bytes={first}-{last}\r\n\r\n")
}

/// The status and the body of the next response.
fn read(stream: &mut BufReader<&TcpStream>) -> (u16, Vec<u8>) {
    let (mut status, mut length) = (0, 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(text) = line.strip_prefix("http/1.1 ") {
            status = text[..3].parse().unwrap();
        } else if let Some(text) = line.strip_prefix("content-length: ") {
            length = text.parse().unwrap();
        } else if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (status, body)
}

/// Ranges that are sent from the file, small ones that are read, and manifests between them, all asked for at once by a
/// client with a receive buffer of 4 KiB.
#[test]
fn pipelined_requests_are_answered_in_order() {
    let (_upstream, server, image) = warm(|setup| setup);
    let (layer, manifest) = (image.layer(), format!("/v2/{REPOSITORY}/manifests/1"));
    let stream = raw::connect_with(server.url(), "127.0.0.1", 4 << 10);
    let mut rng = Rng::new(7);
    let mut wanted: Vec<Option<(usize, usize)>> = Vec::new();
    for turn in 0..400 {
        let (first, length) = (rng.throw(SIZE), 1 + rng.throw([300, 70_000, 200_000][turn % 3]));
        wanted.push((turn % 10 != 9).then(|| (first, (first + length).min(SIZE) - 1)));
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            for range in &wanted {
                let accept = image.top.media_type.as_str();
                let of_manifest = format!("GET {manifest} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n");
                let request = range.map_or(of_manifest, |(first, last)| ask(layer, first, last));
                (&stream).write_all(request.as_bytes()).unwrap();
            }
        });
        let mut responses = BufReader::new(&stream);
        for range in &wanted {
            let (status, body) = read(&mut responses);
            match range {
                Some((first, last)) => {
                    assert_eq!(status, 206);
                    assert!(body == layer.bytes[*first..=*last], "{first}-{last}");
                }
                None => assert!(status == 200 && body == image.top.bytes, "the manifest"),
            }
        }
    });
}

/// The first byte, the last one, and the edges of what is sent at a time.
#[test]
fn each_range_is_exact() {
    let (_upstream, server, image) = warm(|setup| setup);
    let (layer, piece) = (image.layer(), 1 << 20);
    let stream = raw::connect(server.url(), "127.0.0.1");
    let last = SIZE - 1;
    for (from, to) in [(0, last), (0, 0), (last, last), (1, piece), (0, piece - 1), (piece - 1, 2 * piece), (0, 65_535)]
    {
        (&stream).write_all(ask(layer, from, to).as_bytes()).unwrap();
        let (status, body) = read(&mut BufReader::new(&stream));
        assert!(status == 206 && body == layer.bytes[from..=to], "{from}-{to}");
    }
}

/// Clients that leave in the middle, or close their half, leave no descriptor behind; what they got is counted.
#[test]
fn clients_that_leave_cost_nothing() {
    let debug = Port::reserve();
    let (_upstream, server, image) = warm(|setup| setup.watched(&debug));
    let before = descriptors(&server);
    for turn in 0..200 {
        let stream = raw::connect_with(server.url(), "127.0.0.1", 16 << 10);
        (&stream).write_all(ask(image.layer(), turn, SIZE - 1).as_bytes()).unwrap();
        (&stream).read_exact(&mut [0; 1000]).unwrap();
        if turn % 2 == 0 {
            stream.shutdown(Shutdown::Write).unwrap();
        }
    }
    wait_until("the descriptors to be closed", SOON, || descriptors(&server) <= before);
    let sent = Scrape::of(&debug.url()).find("entrepot_http_response_bytes_total", &["route=\"blobs\""]).unwrap();
    assert!(sent >= 200_000. + SIZE as f64, "{sent} bytes are counted");
}

/// A file that became shorter while it is sent ends the connection, so that no client takes the response for whole.
#[test]
fn a_file_that_is_cut_is_never_sent_whole() {
    let (_upstream, server, image) = warm(|setup| setup);
    let mut response = server.blob(REPOSITORY, &image.layer().digest).window(16 << 10).send();
    response.up_to(1000);
    let file = fs::OpenOptions::new().write(true).open(data_file(&server, &image.layer().digest)).unwrap();
    file.set_len(SIZE as u64 - 10).unwrap();
    assert_eq!(response.length(), Some(SIZE as u64));
    assert_ne!(response.summary().end, BodyEnd::Complete);
    wait_until("a line in the log", SOON, || server.log().contains("could not be read"));
    // The next request finds out before it sends anything.
    assert_eq!(server.blob(REPOSITORY, &image.layer().digest).send().summary().digest, image.layer().digest);
}

/// A stop lets a download end that is under way.
#[test]
fn a_download_outlasts_a_stop() {
    let (_upstream, mut server, image) = warm(|setup| setup.variable("REGISTRY_HTTP_DRAINTIMEOUT", "20s"));
    let mut response = server.blob(REPOSITORY, &image.layer().digest).window(16 << 10).send();
    response.up_to(1000);
    server.ask_to_stop();
    thread::sleep(Duration::from_millis(300));
    let rest = response.summary();
    assert_eq!((rest.end, rest.length), (BodyEnd::Complete, SIZE as u64 - 1000));
    server.wait_for_end(SOON);
}
