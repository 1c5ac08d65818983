//! The limits for one client of a shared server; `timing::siege` has all of them at once.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::{
    support::{
        http2::Http2,
        images::{Blob, Format, Image, Manifest},
        raw::{connect, connect_with, exchange, rest},
        server::{Server, Setup},
        tls::{Authority, ClientTls, Https, Mounted},
        uploads::{OCTETS, basic},
        upstream::Upstream,
        users::{Users, password},
        wait_until,
    },
    tls,
};

const HERE: &str = "127.0.0.1";
const ELSEWHERE: &str = "127.0.0.2";
/// A receive buffer that is full at once.
const SMALL: usize = 8 << 10;
const PING: &str = "GET /v2/ HTTP/1.1\nHost: a\n\n";

fn limited(key: &str, value: &str) -> Setup {
    Setup::hosting().variable(&format!("REGISTRY_HTTP_LIMITS_{}", key.to_uppercase()), value)
}

/// The log has a line about it.
fn logged(server: &Server, part: &str) {
    wait_until(part, Duration::from_secs(10), || server.log().contains(part));
}

fn status(stream: &TcpStream, request: &str) -> u16 {
    exchange(stream, request).0
}

/// 431, 413 and 429, with a text that says what to do.
#[test]
fn what_is_too_large_or_too_much_is_refused() {
    let server = limited("headers", "2KiB").start();
    let heavy = |bytes: usize| format!("GET /v2/ HTTP/1.1\nHost: a\nX: {}\n\n", "x".repeat(bytes));
    let stream = connect(server.url(), HERE);
    assert_eq!((status(&stream, &heavy(1000)), status(&stream, &heavy(3000)), status(&stream, PING)), (200, 431, 200));
    let unlimited = limited("headers", "0").start();
    assert_eq!(status(&connect(unlimited.url(), HERE), &heavy(100_000)), 200);
    assert_eq!(status(&connect(unlimited.url(), HERE), &heavy(200_000)), 431, "the most there can be");

    let server = limited("manifest", "1KiB").start();
    let large = Manifest::new(Format::Oci.manifest(), &serde_json::json!({ "x": "x".repeat(2000) }));
    let refused = server.target().manifest("team/app", "1", &large);
    assert_eq!((refused.status, refused.error_code().as_str()), (413, "MANIFEST_INVALID"));
    logged(&server, "http.limits.manifest");

    let server = limited("uploads", "2").start();
    let begin = || server.target().request("POST", "team/app/blobs/uploads/").send();
    let (first, second, third) = (begin(), begin(), begin());
    assert_eq!((first.status, second.status, third.status), (202, 202, 429));
    assert!(third.header("retry-after").is_some());
    logged(&server, "http.limits.uploads");
    assert_eq!(third.error_code(), "TOOMANYREQUESTS");
    let other = "POST /v2/team/app/blobs/uploads/ HTTP/1.1\nHost: a\nContent-Length: 0\n\n";
    assert_eq!(status(&connect(server.url(), ELSEWHERE), other), 202, "another client");
    let session = server.target().follow(&second);
    assert_eq!(crate::support::http::Request::new("DELETE", &session).send().status, 204);
    assert_eq!(begin().status, 202, "one that ended makes room");
    assert_eq!(begin().status, 429);
    let blob = Blob::noise(1, 100);
    let put = format!("{}?digest={}", server.target().follow(&first), blob.digest);
    assert_eq!(crate::support::http::Request::new("PUT", &put).body(OCTETS, &blob.bytes).send().status, 201);
    assert_eq!(begin().status, 202);
}

/// Uploads are counted by user, at any address, and by address for anonymous clients.
#[test]
fn uploads_are_counted_by_user() {
    let users = Users::named(&["ann", "bob"]);
    let server = users.alone(limited("uploads", "2")).start();
    let begin = |user: &str, source: &str| {
        let login = basic(user, &password(user));
        let head = format!("POST /v2/team/app/blobs/uploads/ HTTP/1.1\nHost: a\nAuthorization: {login}\n");
        status(&connect(server.url(), source), &format!("{head}Content-Length: 0\n\n"))
    };
    let got = [begin("ann", HERE), begin("ann", ELSEWHERE), begin("ann", "127.0.0.3"), begin("bob", HERE)];
    assert_eq!(got, [202, 202, 429, 202]);
    logged(&server, "\"ann\" has begun as many uploads as http.limits.uploads allows");
}

/// A connection's last response says so and closes it.
#[test]
fn a_connection_has_so_many_requests() {
    let server = limited("requests", "3").start();
    let stream = connect(server.url(), HERE);
    let heads: Vec<String> = (0..3).map(|_| exchange(&stream, PING).1).collect();
    assert_eq!(heads.iter().map(|head| head.contains("connection: close")).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(rest(&stream).0, "");
}

/// Connections at once: of one address, and in all. Further ones get 503 with a `Retry-After`.
#[test]
fn there_are_so_many_connections() {
    let server = limited("peraddress", "3").variable("REGISTRY_HTTP_LIMITS_CONNECTIONS", "5").start();
    let come = |source: &str| {
        let stream = connect(server.url(), source);
        let (status, head, body) = exchange(&stream, PING);
        (stream, status, head, String::from_utf8(body).unwrap())
    };
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..3 {
        let (stream, status, ..) = come(HERE);
        assert_eq!(status, 200);
        held.push(stream);
    }
    let (_, status, head, body) = come(HERE);
    assert!(status == 503 && head.contains("retry-after: ") && body.contains("TOOMANYREQUESTS"), "{head}{body}");
    for source in [ELSEWHERE, "127.0.0.3"] {
        let (stream, status, ..) = come(source);
        assert_eq!(status, 200, "{source}");
        held.push(stream);
    }
    assert_eq!(come("127.0.0.4").1, 503, "five in all");
    logged(&server, "http.limits.peraddress");
    held.clear();
    wait_until("room again", Duration::from_secs(5), || come(HERE).1 == 200);
}

/// Requests per second: of one address, or of the client that a trusted proxy names.
#[test]
fn requests_come_so_often() {
    let server = limited("rate", "2").variable("REGISTRY_HTTP_TRUSTEDPROXIES", "[127.0.0.9]").start();
    let stream = connect(server.url(), HERE);
    let answers: Vec<_> = (0..60).map(|_| exchange(&stream, PING)).collect();
    let refused: Vec<_> = answers.iter().filter(|(status, ..)| *status == 429).collect();
    assert!((20..=56).contains(&refused.len()), "{} of 60 refused, 4 are allowed at once", refused.len());
    assert!(refused.iter().all(|(_, head, body)| head.contains("retry-after: ") && body.starts_with(b"{\"errors\"")));
    logged(&server, "http.limits.rate");
    assert_eq!(server.log().matches("http.limits.rate").count(), 1, "one line");
    assert_eq!(status(&connect(server.url(), ELSEWHERE), PING), 200, "another client");
    let from = |client: &str| format!("GET /v2/ HTTP/1.1\nHost: a\nX-Forwarded-For: {client}\n\n");
    let believed = (0..30).all(|number| status(&stream, &from(&format!("192.0.2.{number}"))) == 200);
    assert!(!believed, "anybody can write that");
    let proxy = connect(server.url(), "127.0.0.9");
    let refused = |client: &str, times: usize| (0..times).filter(|_| status(&proxy, &from(client)) == 429).count();
    assert!(refused("192.0.2.1", 60) >= 20);
    assert_eq!(refused("192.0.2.2", 4), 0, "another client of the proxy's");
    logged(&server, "remote=192.0.2.2");
    wait_until("another request", Duration::from_secs(10), || {
        thread::sleep(Duration::from_millis(600));
        status(&stream, PING) == 200
    });
}

/// `Location` headers name this server as the client called it. With trusted proxies, only they may set another name;
/// without them, every client may, for its own response.
#[test]
fn trusted_proxies_say_what_this_server_is_called() {
    let begin = "POST /v2/team/app/blobs/uploads/ HTTP/1.1\nHost: a.test:5000\nContent-Length: 0\n";
    let location = |server: &Server, source: &str, more: &str| {
        let (status, head, _) = exchange(&connect(server.url(), source), &format!("{begin}{more}\n"));
        assert_eq!(status, 202, "{head}");
        assert!(!head.contains("cache-control:"), "no cache keeps a 202 that does not ask to be kept");
        let (_, location) = head.split_once("\nlocation: ").unwrap();
        location.split("/v2/").next().unwrap().to_owned()
    };
    let forwarded = "X-Forwarded-For: 192.0.2.1\nX-Forwarded-Proto: https\nX-Forwarded-Host: r.test\n";
    let standard = "Forwarded: for=192.0.2.1;host=r.test;proto=https\n";
    let open = Setup::hosting().start();
    for (more, expected) in [("", "http://a.test:5000"), (forwarded, "https://r.test"), (standard, "https://r.test")] {
        assert_eq!(location(&open, HERE, more), expected, "{more}");
    }
    let careful = Setup::hosting().variable("REGISTRY_HTTP_TRUSTEDPROXIES", "[127.0.0.9]").start();
    for more in ["", forwarded, standard] {
        assert_eq!(location(&careful, HERE, more), "http://a.test:5000", "{more}");
    }
    for (more, expected) in [("", "http://a.test:5000"), (forwarded, "https://r.test"), (standard, "https://r.test")] {
        assert_eq!(location(&careful, "127.0.0.9", more), expected, "{more}");
    }
    let invented = "X-Forwarded-Host: evil.test, r.test\nX-Forwarded-Proto: ftp\n";
    assert_eq!(location(&careful, "127.0.0.9", invented), "http://r.test");
}

/// Each head of a connection must be complete within a time limit.
#[test]
fn a_head_takes_so_long() {
    let server = limited("headtime", "1s").start();
    let first = connect(server.url(), HERE);
    let later = connect(server.url(), HERE);
    assert_eq!(status(&later, PING), 200);
    for mut stream in [first, later] {
        stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: a\r\n").unwrap();
        let drip = stream.try_clone().unwrap();
        // A byte from time to time makes no difference.
        let dripping = thread::spawn(move || {
            while (&drip).write_all(b"X").is_ok() {
                thread::sleep(Duration::from_millis(100));
            }
        });
        let (answer, took) = rest(&stream);
        assert!(answer.starts_with("HTTP/1.1 408 ") || answer.is_empty(), "{answer}");
        assert!((0.5..4.0).contains(&took.as_secs_f32()), "{took:?}");
        dripping.join().unwrap();
    }
    let mut quiet = connect(server.url(), HERE);
    quiet.write_all(b"GET /v2/ HT").unwrap();
    assert!(rest(&quiet).0.starts_with("HTTP/1.1 408 "));
    logged(&server, "http.limits.headtime");
    // The time between two requests is not part of a head.
    let idle = connect(server.url(), HERE);
    assert_eq!(status(&idle, PING), 200);
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(status(&idle, PING), 200);
}

/// A body must not pause for long, but may take long in all.
#[test]
fn a_body_pauses_so_long() {
    let server = limited("bodypause", "1s").start();
    let blob = Blob::noise(2, 30);
    let begin = || server.target().request("POST", &format!("team/app/blobs/uploads/?digest={}", blob.digest));
    let mut slow = begin().header("Content-Type", OCTETS).begin(Some(30));
    for piece in blob.bytes.chunks(10) {
        slow.write(piece).unwrap();
        thread::sleep(Duration::from_millis(600));
    }
    assert_eq!(slow.finish().unwrap().status, 201);
    let mut silent = begin().header("Content-Type", OCTETS).begin(Some(30));
    silent.write(&blob.bytes[..10]).unwrap();
    let start = Instant::now();
    let refused = silent.finish().unwrap();
    assert_eq!(refused.status, 408);
    assert!(refused.header("retry-after").is_some() && (0.5..5.0).contains(&start.elapsed().as_secs_f32()));
    logged(&server, "http.limits.bodypause");
}

/// A client that announces a body and sends none gets its response all the same, for any request.
#[test]
fn a_body_that_never_comes_is_not_waited_for() {
    let users = Users::named(&["ann"]);
    let rules = "access: [{who: anonymous, may: [pull, push, delete], where: '**'}]";
    let server = users.with(limited("bodypause", "1s"), rules).start();
    let digest = Blob::noise(4, 1).digest;
    for (request, expected) in [
        ("GET /v2/".to_owned(), 401),
        ("GET /token".to_owned(), 200),
        ("POST /token".to_owned(), 408),
        ("PUT /v2/team/app/manifests/1".to_owned(), 408),
        (format!("POST /v2/team/app/blobs/uploads/?digest={digest}"), 408),
        ("POST /v2/team/app/blobs/uploads/".to_owned(), 202),
        (format!("DELETE /v2/team/app/blobs/{digest}"), 404),
        ("PATCH /nowhere".to_owned(), 404),
        ("BREW /v2/".to_owned(), 405),
    ] {
        for framing in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
            let stream = connect(server.url(), HERE);
            stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
            assert_eq!(status(&stream, &format!("{request} HTTP/1.1\nHost: a\n{framing}\n\n")), expected, "{request}");
        }
    }
    let form = format!("POST /token HTTP/1.1\nHost: a\nContent-Length: 100000\n\n{}", "x".repeat(100_000));
    assert_eq!(status(&connect(server.url(), HERE), &form), 413);
}

/// Memory for anonymous requests is limited in bytes: long queries, and tokens for unknown names.
#[test]
fn what_is_remembered_is_bounded() {
    let (users, upstream) = (Users::named(&["ann"]), Upstream::plain());
    upstream.add("library/app", "1", &Image::single(Format::Oci, 520));
    let rules = "access: [{who: anonymous, may: pull, where: '**'}]";
    let server = users.with(Setup::both(&upstream.url()).variable("REGISTRY_HTTP_LIMITS_RATE", "0"), rules).start();
    let stream = connect(server.url(), HERE);
    let list = |number: usize, length: usize| {
        let query = format!("n=100&x{number}={}", "y".repeat(length));
        status(&stream, &format!("GET /v2/library/app/tags/list?{query} HTTP/1.1\nHost: a\n\n"))
    };
    assert_eq!((list(0, 3000), list(0, 5000)), (200, 414));
    let before = server.forget_peak_memory();
    assert!((0..10_000).all(|number| list(number, 4000) == 200));
    for number in 0..1200 {
        let scope = |at| format!("scope=repository:library/{}{number}/{at}:push", "z".repeat(230));
        let scopes: Vec<_> = (0..100).map(scope).collect();
        let (status, _, body) = exchange(&stream, &format!("GET /token?{} HTTP/1.1\nHost: a\n\n", scopes.join("&")));
        assert_eq!(status, 200);
        let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let token = answer["token"].as_str().unwrap();
        assert_eq!(
            self::status(&stream, &format!("GET /v2/ HTTP/1.1\nHost: a\nAuthorization: Bearer {token}\n\n")),
            200
        );
    }
    let grown = server.peak_above(before);
    assert!(grown < 52 << 20, "{grown} bytes more");
}

/// A handshake has a time limit; concurrent requests on an HTTP/2 connection are limited; the pauses of its uploads
/// too.
#[test]
fn tls_and_http2_have_limits() {
    let (authority, upstream) = (Authority::new("test"), Upstream::plain());
    let files = Mounted::new(&authority.server());
    let setup = Setup::both(&upstream.url()).variable("REGISTRY_HTTP_LIMITS_BODYPAUSE", "1s");
    let setup = setup.variable("REGISTRY_HTTP_HTTP2_DISABLED", "false");
    let server = tls::with(setup, &files).variable("REGISTRY_HTTP_LIMITS_HEADTIME", "3s").start();
    let silent = connect(&server.url().replace("https:", "http:"), HERE);
    (&silent).write_all(&[22]).unwrap();
    let (said, took) = rest(&silent);
    assert!(said.is_empty() && (2.5..9.0).contains(&took.as_secs_f32()), "{said:?} after {took:?}");
    logged(&server, "a TLS handshake took longer than http.limits.headtime");

    let blob = Blob::noise(5, 400_000);
    upstream.add_blob("library/app", &blob);
    let https = Https::new(server.url(), &authority, &ClientTls::default());
    let path = format!("/v2/library/app/blobs/{}", blob.digest);
    assert_eq!(https.clone().http1().request("GET", &path).unwrap().status, 200);
    // None of them is read: each admitted one holds a piece of it.
    let mut http2 = Http2::connect(&https);
    let statuses = http2.ask(200, &path);
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((count(200), count(429)), (128, 72), "{statuses:?}");
    logged(&server, "more at once than a connection of HTTP/2 may");
    // A cached response waits for its client as well, if that reads nothing at all.
    let statuses = Http2::without_window(&https).ask(200, "/v2/");
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 128, "{statuses:?}");
    let mut slow = Http2::connect(&https);
    let digest = format!("/v2/team/app/blobs/uploads/?digest={}", blob.digest);
    assert_eq!(slow.begin("POST", &digest, &blob.bytes[..10]), 408);
}

/// A client that reads nothing of a response is disconnected; one that reads a little is not.
#[test]
fn an_answer_waits_so_long() {
    let server = limited("sendpause", "1s").start();
    let blob = Blob::noise(3, 20_000_000);
    server.target().blob("team/app", &blob);
    let get = format!("GET /v2/team/app/blobs/{} HTTP/1.1\r\nHost: a\r\n\r\n", blob.digest);
    let (mut reader, mut idler) = (connect(server.url(), HERE), connect_with(server.url(), HERE, SMALL));
    reader.write_all(get.as_bytes()).unwrap();
    idler.write_all(get.as_bytes()).unwrap();
    for _ in 0..8 {
        thread::sleep(Duration::from_millis(400));
        reader.read_exact(&mut vec![0; 2_000_000]).unwrap();
    }
    logged(&server, "http.limits.sendpause");
    assert!(rest(&idler).0.len() < 10_000_000, "it was let go");
}
