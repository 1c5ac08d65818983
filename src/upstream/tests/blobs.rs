//! Blobs: whole, in part, truncated, stalled; and their size without their bytes.

use std::time::{Duration, Instant};

use super::{
    BLOB, Digest, Error, name, read, remote,
    server::{Server, Step, reply, say},
    threads,
};
use crate::upstream::Phase;

/// The first `sent` bytes of the blob in one response that announces all of it.
fn partly(sent: usize) -> Step {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", BLOB.len());
    Step::Say([head.as_bytes(), &BLOB[..sent]].concat())
}

fn part(content_range: &str, body: &[u8]) -> Vec<Step> {
    reply("206 Partial Content", &format!("Content-Range: {content_range}\r\n"), body)
}

#[tokio::test]
async fn a_whole_blob_comes_whole() {
    let server = Server::start(|_, before| match before {
        0 => reply("200 OK", "", BLOB),
        1 => {
            say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n10\r\n456789abcdefghij\r\n0\r\n\r\n")
        }
        _ => vec![Step::Say([b"HTTP/1.0 200 OK\r\n\r\n", BLOB].concat()), Step::Fin],
    });
    let (threads, remote) = (threads(1), remote(&server));
    for size in [Some(20), None, None] {
        let read = read(&threads, &remote, 0, None).await.unwrap();
        assert_eq!((read.start, read.size, &read.bytes[..], read.end), (0, size, BLOB, Ok(())));
    }
    assert_eq!(server.connections(), 1);
    assert!(server.asked().iter().all(|asked| asked.header("range").is_none()));
}

#[tokio::test]
async fn every_kind_of_cut_is_an_error() {
    let chunked = || Step::Say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n0123456\r\n".into());
    let half = || Step::Say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n0123456".into());
    let wait = Step::Wait(50);
    let scripts = [
        (vec![partly(7), Step::Fin], Some(20)),
        (vec![partly(7), wait.clone(), Step::Fin], Some(20)),
        (vec![partly(7), wait.clone(), Step::Rst], Some(20)),
        (vec![chunked(), Step::Fin], None),
        (vec![chunked(), wait.clone(), Step::Fin], None),
        (vec![chunked(), wait.clone(), Step::Rst], None),
        (vec![half(), wait, Step::Fin], None),
    ];
    let expected: Vec<_> = scripts.iter().map(|(_, expected)| *expected).collect();
    let server = Server::start(move |_, before| scripts[before].0.clone());
    let (threads, remote) = (threads(1), remote(&server));
    for (number, expected) in expected.into_iter().enumerate() {
        let read = read(&threads, &remote, 0, None).await.unwrap();
        assert_eq!((&read.bytes[..], read.end), (&BLOB[..7], Err(Error::Cut { got: 7, expected })), "{number}");
    }
}

#[tokio::test]
async fn a_stall_is_an_error_in_time() {
    let server = Server::start(|_, _| vec![partly(7), Step::Wait(5000)]);
    let started = Instant::now();
    let read = read(&threads(1), &remote(&server), 0, None).await.unwrap();
    assert_eq!((&read.bytes[..], read.end), (&BLOB[..7], Err(Error::Timeout { phase: Phase::Stall })));
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_slow_blob_is_not_a_stalled_one() {
    let piece = |piece: &[u8]| Step::Say(piece.to_vec());
    let pieces = BLOB.chunks(5).flat_map(|bytes| [piece(bytes), Step::Wait(200)]).collect::<Vec<_>>();
    let server = Server::start(move |_, _| [vec![partly(0)], pieces.clone()].concat());
    let read = read(&threads(1), &remote(&server), 0, None).await.unwrap();
    assert_eq!((&read.bytes[..], read.end), (BLOB, Ok(())));
}

#[tokio::test]
async fn more_than_announced_spoils_nothing() {
    let server =
        Server::start(|_, _| vec![partly(20), Step::Say(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx".into())]);
    let (threads, remote) = (threads(1), remote(&server));
    for _ in 0..2 {
        let read = read(&threads, &remote, 0, None).await.unwrap();
        assert_eq!((&read.bytes[..], read.end), (BLOB, Ok(())));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_part_is_the_part_asked_for() {
    let server = Server::start(|asked, _| match asked.header("range") {
        Some("bytes=5-") => part("bytes 5-19/20", &BLOB[5..]),
        Some("bytes=5-9") => part("bytes 5-9/*", &BLOB[5..10]),
        Some("bytes=0-99") => part("bytes 0-19/20", BLOB),
        Some("bytes=6-") => reply("200 OK", "", BLOB),
        _ => reply("416 Range Not Satisfiable", "Content-Range: bytes */20\r\n", ""),
    });
    let (threads, remote) = (threads(1), remote(&server));
    for (from, until, start, size, bytes) in [
        (5, None, 5, Some(20), &BLOB[5..]),
        (5, Some(10), 5, None, &BLOB[5..10]),
        (0, Some(100), 0, Some(20), BLOB),
        (6, None, 0, Some(20), BLOB),
    ] {
        let read = read(&threads, &remote, from, until).await.unwrap();
        assert_eq!(
            (read.start, read.size, &read.bytes[..], read.end),
            (start, size, bytes, Ok(())),
            "{from} {until:?}"
        );
    }
    let beyond = read(&threads, &remote, 20, None).await;
    assert!(matches!(beyond, Err(Error::Status { code: 416, .. })));
    assert!(matches!(read(&threads, &remote, 5, Some(5)).await, Err(Error::Protocol(_))));
}

#[tokio::test]
async fn another_part_is_refused() {
    let wrong = [
        part("bytes 4-19/20", &BLOB[4..]),
        part("bytes 5-18/20", &BLOB[5..19]),
        part("bytes 5-19/20", &BLOB[5..19]),
        part("rubbish", &BLOB[5..]),
        reply("206 Partial Content", "", &BLOB[5..]),
        reply("204 No Content", "", ""),
    ];
    let count = wrong.len();
    let server = Server::start(move |_, before| wrong[before].clone());
    let (threads, remote) = (threads(1), remote(&server));
    for number in 0..count {
        assert!(matches!(read(&threads, &remote, 5, None).await, Err(Error::Protocol(_))), "{number}");
    }
}

#[tokio::test]
async fn a_validator_goes_to_the_host_it_came_from() {
    let server = Server::start(|asked, before| match (before, asked.header("range")) {
        (0, _) => reply("200 OK", "ETag: \"strong\"\r\n", BLOB),
        (1, Some(_)) => reply("307 Temporary Redirect", "Location: /elsewhere\r\n", ""),
        (2, Some(_)) => part("bytes 5-19/20", &BLOB[5..]),
        _ => reply("200 OK", "ETag: W/\"weak\"\r\n", BLOB),
    });
    let (threads, remote) = (threads(1), remote(&server));
    let job = move |client: crate::upstream::Client| async move {
        let digest = Digest::sha256(BLOB);
        let first = client.open_blob(&remote, &name(), &digest, 0, None, None).await?;
        client.open_blob(&remote, &name(), &digest, 5, None, first.validator()).await?;
        let weak = client.open_blob(&remote, &name(), &digest, 0, None, first.validator()).await?;
        Ok(weak.validator().is_none())
    };
    assert_eq!(threads.call(job).await, Ok(true));
    let if_range: Vec<_> = server.asked().iter().map(|asked| asked.header("if-range").map(str::to_owned)).collect();
    let strong = || Some("\"strong\"".to_owned());
    assert_eq!(if_range, [None, strong(), strong(), None]);
}

#[tokio::test]
async fn a_size_is_found_in_three_ways() {
    let to_cdn = || reply("307 Temporary Redirect", "Location: /cdn\r\n", "");
    let server = Server::start(move |asked, _| match (asked.method.as_str(), asked.target.split('/').nth(2)) {
        ("HEAD", Some("told")) => say("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"),
        ("HEAD", Some("zero")) => say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("HEAD", Some("refused")) => say("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
        ("HEAD", Some("gone")) => say("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        ("HEAD", _) => to_cdn(),
        ("GET", Some("moved")) => to_cdn(),
        ("GET", Some("whole")) => say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
        _ => part("bytes 0-0/8", b"x"),
    });
    let (threads, remote) = (threads(1), remote(&server));
    let digest = Digest::sha256(BLOB);
    let size = async |name: &str| remote.blob_size(&threads, &name.parse().unwrap(), &digest).await;
    for (name, bytes) in [("told", 7), ("zero", 8), ("refused", 8), ("moved", 8), ("whole", 9)] {
        assert_eq!(size(name).await, Ok(bytes), "{name}");
    }
    assert_eq!(size("gone").await, Err(Error::NotFound));
    let at_cdn: Vec<_> = server.asked().into_iter().filter(|asked| asked.target == "/cdn").collect();
    assert!(at_cdn.iter().all(|asked| asked.method == "GET" && asked.header("range") == Some("bytes=0-0")));
    assert_eq!(at_cdn.len(), 1);
}
