//! Notifications: their events are those of registry:2, none but pull events is lost, and a receiver that fails or
//! hangs is in nobody's way.

mod comparison;

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    http,
    images::{Blob, Format, Image},
    netns::Netns,
    pages::blocks,
    ports::Port,
    raw,
    receiver::{Mode, Receiver},
    scrape::Scrape,
    scratch,
    server::{Server, Setup},
    uploads::Target,
    upstream::Upstream,
    wait_until,
};

const LONG: Duration = Duration::from_secs(60);

/// The configuration of endpoints, by name, each with more of its keys.
fn section(endpoints: &[(&str, &Receiver, &str)]) -> String {
    let each = endpoints.iter().map(|(name, receiver, more)| {
        format!("{{name: {name}, url: \"{}\", timeout: 500ms, threshold: 3, backoff: 1s{more}}}", receiver.url())
    });
    let endpoints: Vec<_> = each.collect();
    format!("notifications: {{events: {{includereferences: true}}, endpoints: [{}]}}\n", endpoints.join(", "))
}

/// A server with this section in its file.
struct Notifying {
    setup: Setup,
    dir: TempDir,
}

impl Notifying {
    fn new(setup: Setup, section: &str) -> Self {
        let dir = scratch::dir("notifying");
        let file = dir.path().join("config.yml");
        let notifying = Self { setup: setup.config(&file), dir };
        notifying.configure(section);
        notifying
    }

    fn configure(&self, section: &str) {
        fs::write(self.dir.path().join("config.yml"), format!("version: 0.1\n{section}")).unwrap();
    }

    fn start(&self) -> Server {
        self.setup.clone().start()
    }
}

/// Pushes a small blob. Returns its digest.
fn push(target: &Target, number: usize) -> String {
    let blob = Blob::new(format!("blob {number}"));
    target.blob("team/app", &blob);
    blob.digest
}

fn digests(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["target"]["digest"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn requests_have_the_media_type_and_the_configured_headers() {
    let (receiver, other) = (Receiver::start(Mode::Takes), Receiver::start(Mode::Takes));
    let headers = ", headers: {Authorization: [Bearer abc], X-Two: [one, two]}";
    let section = section(&[("a", &receiver, headers), ("b", &other, "")]);
    let with_user = other.url().replace("http://", "http://me:pw@");
    let server = Notifying::new(Setup::hosting(), &section.replace(&other.url(), &with_user)).start();
    push(&server.target(), 1);
    receiver.wait_for(1);
    let head = receiver.deliveries()[0].head.clone();
    for line in [
        "POST /events HTTP/1.1",
        "content-type: application/vnd.docker.distribution.events.v2+json",
        "authorization: Bearer abc",
        "x-two: one",
        "x-two: two",
    ] {
        assert!(head.iter().any(|own| own.eq_ignore_ascii_case(line)), "{line}: {head:#?}");
    }
    other.wait_for(1);
    let head = other.deliveries()[0].head.clone();
    assert!(head.iter().any(|own| own.eq_ignore_ascii_case("authorization: Basic bWU6cHc=")), "{head:#?}");
}

#[test]
fn ignored_media_types_and_actions_have_no_events() {
    let (types, actions, all) =
        (Receiver::start(Mode::Takes), Receiver::start(Mode::Takes), Receiver::start(Mode::Takes));
    let section = section(&[
        ("types", &types, ", ignoredmediatypes: [application/octet-stream]"),
        ("actions", &actions, ", ignore: {actions: [pull, delete]}"),
        ("all", &all, ""),
        ("none", &all, ", disabled: true"),
    ]);
    let server = Notifying::new(Setup::hosting(), &section).start();
    let (target, image) = (server.target(), Image::single(Format::Oci, 7110));
    target.image("team/app", "latest", &image);
    server.pull("team/app", "latest", &image);
    assert_eq!(target.delete(&format!("team/app/manifests/{}", image.digest())), 202);
    // Blobs pushed and pulled, the manifest pushed and pulled, deleted, and its tag.
    let count = all.wait_for(2 * image.blobs.len() + 4).len();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(all.events().len(), count, "none is sent twice, and the disabled endpoint has none");
    let words = |receiver: &Receiver| -> Vec<String> {
        receiver.events().iter().map(|event| event["action"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(words(&types), ["push", "pull", "delete", "delete"]);
    assert_eq!(words(&actions), ["push"].repeat(image.blobs.len() + 1));
}

#[test]
fn a_receiver_that_hangs_or_fails_holds_up_nobody_and_gets_all_events_in_order_later() {
    let (hangs, fails, takes) =
        (Receiver::start(Mode::Hangs), Receiver::start(Mode::Fails(503)), Receiver::start(Mode::Takes));
    let section = section(&[("hangs", &hangs, ""), ("fails", &fails, ""), ("takes", &takes, "")]);
    let server = Notifying::new(Setup::hosting(), &section).start();
    let began = Instant::now();
    let pushed: Vec<_> = (0..20).map(|number| push(&server.target(), number)).collect();
    assert_eq!(digests(&takes.wait_for(20)), pushed);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    thread::sleep(Duration::from_secs(4).saturating_sub(began.elapsed()));
    let (tried, took) = (fails.deliveries().len() as u64, began.elapsed().as_secs());
    assert!((4..=3 + took + 2).contains(&tried), "three attempts at once, then one a second: {tried} in {took} s");
    assert!(digests(&[fails.deliveries()[0].envelope["events"][0].clone()]) == [pushed[0].clone()]);
    for receiver in [&hangs, &fails] {
        receiver.turn(Mode::Takes);
        assert_eq!(digests(&receiver.wait_for(20)), pushed);
    }
    let ids = |receiver: &Receiver| -> Vec<_> {
        receiver.deliveries().iter().map(|delivery| delivery.envelope["events"][0]["id"].clone()).collect()
    };
    assert_eq!(ids(&fails)[0], ids(&fails)[1], "a repeated event has the same ID");
}

/// Pushes, mounts and deletes, while the server is killed again and again. What was acknowledged has its event.
#[test]
fn no_acknowledged_push_mount_or_delete_is_without_its_event_after_kills() {
    let receiver = Receiver::start(Mode::Cuts);
    let notifying = Notifying::new(Setup::hosting(), &section(&[("a", &receiver, "")]));
    let mut acknowledged: Vec<(&str, String)> = Vec::new();
    for round in 0..6_usize {
        // The receiver takes events in some rounds, so that kills come between events and deliveries, too.
        receiver.turn([Mode::Cuts, Mode::Hangs, Mode::Takes][round % 3]);
        let server = notifying.start();
        let (url, killed) = (server.url().to_owned(), AtomicBool::new(false));
        let server = std::sync::Mutex::new(Some(server));
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(150 + 60 * round as u64));
                killed.store(true, Ordering::SeqCst);
                server.lock().unwrap().take();
            });
            for number in 0.. {
                let (blob, path) = (Blob::new(format!("{round} {number}")), "v2/team/app/blobs");
                let put = http::Request::new("POST", &format!("{url}/{path}/uploads/?digest={}", blob.digest));
                let put = put.body("application/octet-stream", &blob.bytes).try_send();
                if !put.is_ok_and(|put| put.status == 201) {
                    break;
                }
                acknowledged.push(("push", blob.digest.clone()));
                let mount = format!("{url}/v2/team/b/blobs/uploads/?mount={}&from=team/app", blob.digest);
                if !http::Request::new("POST", &mount).try_send().is_ok_and(|mount| mount.status == 201) {
                    break;
                }
                acknowledged.push(("mount", blob.digest.clone()));
                let delete = http::Request::new("DELETE", &format!("{url}/{path}/{}", blob.digest)).try_send();
                if !delete.is_ok_and(|delete| delete.status == 202) {
                    break;
                }
                acknowledged.push(("delete", blob.digest.clone()));
            }
            assert!(killed.load(Ordering::SeqCst), "it ended by the kill alone");
        });
    }
    assert!(acknowledged.len() > 30, "{}", acknowledged.len());
    receiver.turn(Mode::Takes);
    let _server = notifying.start();
    let came = || -> Vec<(String, String)> {
        let pair = |event: &Value| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            (text(&event["action"]), text(&event["target"]["digest"]))
        };
        receiver.events().iter().map(pair).collect()
    };
    let (action, digest) = acknowledged.last().unwrap();
    let last = ((*action).to_owned(), digest.clone());
    wait_until("the last event", LONG, || came().contains(&last));
    let came = came();
    let mut rest = came.iter();
    for (action, digest) in &acknowledged {
        let found = rest.any(|(own, of)| own == action && of == digest);
        assert!(found, "{action} of {digest} is missing, or not in its order");
    }
    assert!(came.len() <= acknowledged.len() + 6, "a kill leaves one event without an answer at most");
}

/// The event is on the disk before the answer is sent.
#[test]
fn an_event_is_synced_before_the_answer() {
    let (receiver, dir) = (Receiver::start(Mode::Cuts), scratch::dir("trace"));
    let trace = dir.path().join("trace");
    let notifying = Notifying::new(Setup::hosting().traced(&trace), &section(&[("a", &receiver, "")]));
    let server = notifying.start();
    let image = Image::single(Format::Oci, 7120);
    image.blobs.iter().for_each(|blob| server.target().blob("team/app", blob));
    let before = fs::read_to_string(&trace).unwrap().len();
    let manifest = image.manifests().last().unwrap();
    assert_eq!(server.target().manifest("team/app", "latest", manifest).status, 201);
    assert_eq!(server.target().delete(&format!("team/app/manifests/{}", image.digest())), 202);
    let answered = |text: &str, answer: &str| text.find(answer);
    wait_until("the answers in the trace", LONG, || {
        answered(&fs::read_to_string(&trace).unwrap()[before..], "HTTP/1.1 202 Accepted").is_some()
    });
    let text = fs::read_to_string(&trace).unwrap()[before..].to_owned();
    let (created, deleted) =
        (answered(&text, "HTTP/1.1 201 Created").unwrap(), answered(&text, "HTTP/1.1 202 Accepted").unwrap());
    for part in [&text[..created], &text[created..deleted]] {
        let is_sync = |line: &&str| line.contains("fsync(") && line.contains("/notifications/a/events/");
        let synced = part.lines().rposition_line(is_sync);
        let written = part.lines().rposition_line(|line| line.contains("pwrite64(") && line.contains("/a/events/"));
        assert!(written.is_some() && synced > written, "{part}");
    }
}

/// The last line of a text for which a condition holds.
trait LastLine<'a>: Iterator<Item = &'a str> + Sized {
    fn rposition_line(self, mut is: impl FnMut(&&'a str) -> bool) -> Option<usize> {
        self.enumerate().filter(|(_, line)| is(line)).last().map(|(at, _)| at)
    }
}

impl<'a, T: Iterator<Item = &'a str>> LastLine<'a> for T {}

#[test]
fn pulls_of_mirrored_images_have_events() {
    let (upstream, receiver) = (Upstream::plain(), Receiver::start(Mode::Takes));
    let image = Image::single(Format::Oci, 7130);
    upstream.add("library/thing", "latest", &image);
    let server = Notifying::new(Setup::mirroring(&upstream.url()), &section(&[("a", &receiver, "")])).start();
    server.pull("library/thing", "latest", &image);
    let events = receiver.wait_for(1 + image.blobs.len());
    let manifest = &events[0]["target"];
    assert_eq!((&events[0]["action"], &manifest["repository"]), (&json!("pull"), &json!("library/thing")));
    assert_eq!((&manifest["tag"], &manifest["digest"]), (&json!("latest"), &json!(image.digest())));
    assert_eq!(manifest["references"].as_array().unwrap().len(), image.blobs.len());
    assert_eq!(manifest["url"], server.v2(&format!("library/thing/manifests/{}", image.digest())));
}

/// The events of an endpoint that is not configured any more are kept for it.
#[test]
fn a_queue_without_its_endpoint_is_kept_and_told() {
    let receiver = Receiver::start(Mode::Cuts);
    let with = section(&[("First one", &receiver, "")]);
    let notifying = Notifying::new(Setup::hosting(), &with);
    let mut server = notifying.start();
    let pushed: Vec<_> = (0..3).map(|number| push(&server.target(), number)).collect();
    server.stop();
    receiver.turn(Mode::Takes);
    notifying.configure("");
    let mut server = notifying.start();
    server.wait_for_log("an endpoint that is not in notifications.endpoints", LONG);
    push(&server.target(), 7);
    server.stop();
    notifying.configure(&with);
    let _server = notifying.start();
    assert_eq!(digests(&receiver.wait_for(3)), pushed);
    thread::sleep(Duration::from_millis(200));
    assert_eq!(receiver.events().len(), 3);
}

/// The page's receiver gets the event of the page's push.
#[test]
fn the_page_as_it_is_written() {
    const PAGE: &str = "docs/notifications.md";
    let netns = Netns::boot();
    let (file, sh) = (netns.path("config.yml"), blocks(PAGE, "sh"));
    fs::write(&file, format!("version: 0.1\nproxy: {{enabled: false}}\n{}", blocks(PAGE, "yaml")[0])).unwrap();
    let [receiver, push, shown] = &sh[..] else { panic!("{sh:#?}") };
    netns.sh(receiver);
    netns.until("curl --silent --output /dev/null http://127.0.0.1:8000/");
    let variables = [("REGISTRY_CONFIGURATION_PATH", file.to_str().unwrap()), ("REGISTRY_HTTP_ADDR", "127.0.0.1:5000")];
    let _server = netns.entrepot(&netns.path("data"), &variables);
    netns.sh(push);
    let said = netns.sh(shown);
    assert!(said.contains(&format!("push app None {}", Blob::new("hello").digest)), "{said}");
}

/// 10⁵ events wait while their receiver hangs.
#[test]
fn memory_is_flat_while_events_wait() {
    const EVENTS: f64 = 1e5;
    let (receiver, debug) = (Receiver::start(Mode::Hangs), Port::reserve());
    let setup = Setup::hosting()
        .variable("REGISTRY_HTTP_DEBUG_ADDR", &debug.addr().to_string())
        .variable("REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED", "true")
        .variable("REGISTRY_LOG_ACCESSLOG_DISABLED", "true");
    let server = Notifying::new(setup, &section(&[("a", &receiver, "")])).start();
    let digest = push(&server.target(), 1);
    let waiting = || Scrape::of(&debug.url()).find("entrepot_notification_waiting", &["endpoint=\"a\""]).unwrap();
    let fill = |until: f64| {
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let stream = raw::connect(server.url(), "127.0.0.1");
                    let head = format!("HEAD /v2/team/app/blobs/{digest} HTTP/1.1\nHost: a\n\n");
                    while waiting() < until {
                        for _ in 0..500 {
                            let mut buffered = stream.try_clone().unwrap();
                            ask(&mut buffered, &head);
                        }
                    }
                });
            }
        });
    };
    fill(2e3);
    let before = server.anonymous_memory();
    fill(EVENTS);
    let after = server.anonymous_memory();
    assert!(waiting() >= EVENTS);
    assert!(after < before + (12 << 20), "{} KiB, then {} KiB", before >> 10, after >> 10);
    let dir = server.data().join("notifications");
    let bytes: u64 = scratch::files(&dir).iter().map(|file| size(&dir.join(file))).sum();
    assert!(bytes > 30_000_000, "they are on the disk: {bytes}");
}

/// A request without a body in its answer.
fn ask(stream: &mut std::net::TcpStream, request: &str) {
    use std::io::{Read as _, Write as _};
    stream.write_all(request.replace('\n', "\r\n").as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut piece = [0; 1024];
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "closed");
        head.extend_from_slice(&piece[..read]);
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
}

fn size(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |found| found.len())
}
