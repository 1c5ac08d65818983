//! All abuse by one client at once, and another client's pull meanwhile: heads that never end, clients that never read,
//! bodies without a length and bytes without a head, wrong passwords.
//!
//! The connections are a thousand of each in every run; the bytes and the passwords are a tenth outside of the soak.

use std::{
    io::Write,
    net::TcpStream,
    ops::RangeInclusive,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::pairs::{Pair, Took, WINDOW, take_under_twice};
use crate::support::{
    hash::sha256,
    http,
    images::{Blob, Format, Image},
    pace::Pace,
    raw::{connect, connect_with, exchange},
    rounds,
    server::{ACCEPT, Server, Setup},
    uploads::{OCTETS, Target, basic},
    upstream::Upstream,
    users::{Users, password},
    wait_until,
};

const HERE: &str = "127.0.0.1";
const ELSEWHERE: &str = "127.0.0.2";
/// A receive buffer that is full at once.
const SMALL: usize = 8 << 10;
const CONNECTIONS: usize = 1000;
const MANIFEST: u64 = 4 << 20;
/// The cheapest hash that `entrepot htpasswd` makes: the cost of a wrong password, for any user.
const COST: u32 = 10;

/// The bytes per second of each sort of body: a Gbit/s. A remote attacker uses no more of this machine than that.
const NETWORK: u64 = 125_000_000;
/// The value of `http.limits.sendpause`.
const SENDPAUSE: Duration = Duration::from_secs(300);
/// Wrong passwords a second.
const GUESSES: u64 = 500;
/// The time limit for the test.
const LONGEST: Duration = Duration::from_secs(3600);

/// The work that the attackers have done.
#[derive(Default)]
struct Done {
    /// The number of crowds of connections that have been made.
    gathered: AtomicU64,
    over: AtomicBool,
    guesses: AtomicU64,
    /// The bytes of uploads, and the number of complete ones.
    uploaded: AtomicU64,
    uploads: AtomicU64,
    /// The most that one connection could send without a valid head, and of a manifest.
    unasked: AtomicU64,
    manifest: AtomicU64,
}

/// Ends the attack if the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// A server under attack, an idle one beside it, and the image that another client pulls from both.
struct Siege {
    server: Server,
    idle: Server,
    image: Image,
    /// The blob that clients request and do not read.
    large: Blob,
    /// The bytes of an upload.
    whole: u64,
    guesses: u64,
    /// Dropped after the servers, which use them.
    _used: (Upstream, Users),
}

/// Memory of the attacked server in bytes.
#[derive(Debug)]
struct Memory {
    before: u64,
    /// After all attackers have connected and one upload has finished.
    settled: u64,
    /// The most from then on.
    most: u64,
}

impl Siege {
    fn new() -> Self {
        let (upstream, image) = (Upstream::plain(), Image::of_size(Format::Oci, 601, 8_000_000));
        upstream.add("library/app", "1", &image);
        let large = Blob::noise(602, 30_000_000);
        upstream.add_blob("library/app", &large);
        let users = Users::named(&["ann", "eve"]);
        let lines = std::fs::read_to_string(users.path()).unwrap();
        users.write(&format!("{lines}old:{}\n", bcrypt::hash("nobody's", COST).unwrap()));
        let start = || users.alone(Setup::both(&upstream.url())).start();
        let (server, idle) = (start(), start());
        let (whole, guesses) = (rounds(10) as u64 * 1_000_000_000, rounds(100_000) as u64);
        let siege = Self { server, idle, image, large, whole, guesses, _used: (upstream, users) };
        siege.eve().request("GET", &format!("library/app/blobs/{}", siege.large.digest)).send().summary();
        siege.pair();
        siege
    }

    fn eve(&self) -> Target {
        self.server.target().as_user("eve", &password("eve"))
    }

    fn pair(&self) -> Pair {
        Pair::of(|| pull(&self.server, &self.image), || pull(&self.idle, &self.image))
    }

    /// Pulls by a client at another address, from the one and the other server in turn; more of them while `goes_on`.
    fn pulls(&self, goes_on: impl Fn() -> bool) -> Vec<Pair> {
        let mut pairs = Vec::new();
        while pairs.len() < WINDOW || goes_on() {
            pairs.push(self.pair());
            if pairs.len() >= WINDOW {
                thread::sleep(Duration::from_millis(100));
            }
        }
        pairs
    }

    /// Starts every attack, and waits until all attackers are connected.
    fn attack<'a>(&'a self, scope: &'a thread::Scope<'a, '_>, done: &'a Done) {
        scope.spawn(|| never_read(&self.server, &self.large, done));
        scope.spawn(|| drip(&self.server, done));
        scope.spawn(|| flood(&self.server, &self.eve(), done));
        scope.spawn(|| upload(&self.eve(), self.whole, done));
        scope.spawn(|| guess(&self.server, done));
        wait_until("the last besieger", Duration::from_secs(60), || done.gathered.load(Relaxed) == 2);
        self.wait_for_sockets("all to be let in", Duration::from_secs(60));
    }

    fn wait_for_sockets(&self, what: &str, limit: Duration) {
        wait_until(what, limit, || sockets(&self.server) >= 2 * CONNECTIONS);
    }

    /// Pulls under attack: for longer than the time limit for a head, and until a whole upload has finished; then until
    /// the rest was done, and another upload.
    fn pulls_under_attack(&self, done: &Done) -> (Vec<Pair>, Memory) {
        let before = self.server.memory();
        thread::scope(|scope| {
            let end = End(&done.over);
            self.attack(scope, done);
            let start = Instant::now();
            let goes_on = |least: u64, uploads: u64, guesses: u64| {
                let came = done.uploads.load(Relaxed) >= uploads && done.guesses.load(Relaxed) >= guesses;
                start.elapsed() < Duration::from_secs(least) || !came && start.elapsed() < LONGEST
            };
            let mut pairs = self.pulls(|| goes_on(15, 1, 0));
            let settled = self.server.memory();
            self.server.forget_peak_memory();
            pairs.extend(self.pulls(|| goes_on(25, 2, self.guesses)));
            self.wait_for_sockets("who was let go to come again", Duration::from_secs(20));
            drop(end);
            (pairs, Memory { before, settled, most: self.server.peak_memory() })
        })
    }
}

/// Another client's pull takes less than twice its time, and memory stays constant.
#[test]
fn a_siege_costs_the_others_nothing() {
    open_files();
    let (siege, done) = (Siege::new(), Done::default());
    let (pairs, memory) = siege.pulls_under_attack(&done);
    report(&done, &memory, &pairs);
    take_under_twice(&pairs);
    let Memory { before, settled, most } = memory;
    assert!(most < before + (32 << 20) + 2 * CONNECTIONS as u64 * (64 << 10), "a connection's worth: {memory:?}");
    assert!(most < settled + (32 << 20), "a second upload costs no more: {memory:?}");
    did_what_they_may(&done, 2 * siege.whole, siege.guesses);
    for logged in ["http.limits.headtime", "http.limits.manifest", "sent on and on after it was answered"] {
        wait_until(logged, Duration::from_secs(10), || siege.server.log().contains(logged));
    }
}

/// Every kind of attack has been made, and no connection could send more than the server reads in order to respond.
fn did_what_they_may(done: &Done, whole: u64, guesses: u64) {
    let bounds: [(&AtomicU64, RangeInclusive<u64>); 4] = [
        (&done.uploaded, whole..=u64::MAX),
        (&done.guesses, guesses..=u64::MAX),
        (&done.unasked, 0..=16 << 20),
        // The server reads a refused body a little further, so that the client gets the response.
        (&done.manifest, MANIFEST..=64 << 20),
    ];
    for (what, expected) in bounds {
        let what = what.load(Relaxed);
        assert!(expected.contains(&what), "{what} is not among {expected:?}");
    }
}

/// Concurrent clients that request much and read nothing, until the test is over. They do not notice a disconnect, and
/// so they leave and return by themselves in turn, each before that.
fn never_read(server: &Server, large: &Blob, done: &Done) {
    let login = basic("eve", &password("eve"));
    let get =
        format!("GET /v2/library/app/blobs/{} HTTP/1.1\r\nHost: a\r\nAuthorization: {login}\r\n\r\n", large.digest);
    let begin = || {
        let mut stream = connect_with(server.url(), HERE, SMALL);
        stream.write_all(get.as_bytes()).unwrap();
        stream
    };
    let mut clients: Vec<TcpStream> = (0..CONNECTIONS).map(|_| begin()).collect();
    done.gathered.fetch_add(1, Relaxed);
    for turn in 0.. {
        if done.over.load(Relaxed) {
            return;
        }
        thread::sleep(SENDPAUSE / 2 / CONNECTIONS as u32);
        clients[turn % CONNECTIONS] = begin();
    }
}

/// Concurrent heads that are sent a byte at a time, until the test is over; disconnected clients return.
fn drip(server: &Server, done: &Done) {
    let begin = || {
        let mut stream = connect_with(server.url(), HERE, SMALL);
        stream.write_all(b"GET /v2/ HTTP/1.1\r\nX: ").unwrap();
        stream
    };
    let mut loris: Vec<TcpStream> = (0..CONNECTIONS).map(|_| begin()).collect();
    done.gathered.fetch_add(1, Relaxed);
    while !done.over.load(Relaxed) {
        for stream in &mut loris {
            if stream.write_all(b"x").is_err() {
                *stream = begin();
            }
        }
        thread::sleep(Duration::from_millis(500));
    }
}

/// 10 GB without a head, after a head that announces none, and as a manifest of no announced length, on one connection
/// after another.
fn flood(server: &Server, eve: &Target, done: &Done) {
    const HEADS: [&[u8]; 2] = [b"", b"POST /v2/team/app/blobs/uploads/ HTTP/1.1\r\nHost: a\r\n\r\n"];
    let piece = vec![b'a'; 1 << 20];
    let mut pace = Pace::of(NETWORK);
    while !done.over.load(Relaxed) {
        for head in HEADS {
            let mut stream = connect(server.url(), HERE);
            stream.write_all(head).unwrap();
            let taken = pour(&mut pace, || stream.write(&piece).ok().filter(|length| *length > 0));
            done.unasked.fetch_max(taken, Relaxed);
        }
        let mut manifest = eve.request("PUT", "team/app/manifests/endless").header("Content-Type", OCTETS).begin(None);
        let taken = pour(&mut pace, || manifest.write(&piece).ok().map(|()| piece.len()));
        done.manifest.fetch_max(taken, Relaxed);
    }
}

/// The bytes of 10 GB that the receiver takes.
fn pour(pace: &mut Pace, mut piece: impl FnMut() -> Option<usize>) -> u64 {
    let mut taken = 0;
    while taken < 10_000_000_000
        && let Some(length) = piece()
    {
        pace.wait(length as u64);
        taken += length as u64;
    }
    taken
}

/// Uploads without a length that are read completely, one after another. Nothing of them is kept.
fn upload(eve: &Target, whole: u64, done: &Done) {
    let piece = vec![b'a'; 1 << 20];
    while !done.over.load(Relaxed) {
        let mut session = eve.begin("team/large");
        let mut patch = session.request("PATCH").header("Content-Type", OCTETS).begin(None);
        let mut sent = 0;
        let mut pace = Pace::of(NETWORK);
        while sent < whole && (sent == 0 || !done.over.load(Relaxed)) {
            pace.wait(piece.len() as u64);
            let length = piece.len().min(usize::try_from(whole - sent).unwrap());
            patch.write(&piece[..length]).unwrap();
            sent += length as u64;
        }
        let answer = patch.finish().unwrap();
        assert_eq!((answer.status, answer.header("range")), (202, Some(format!("0-{}", sent - 1).as_str())));
        session.moved(&answer);
        assert_eq!(session.received(), sent);
        if sent == whole {
            done.uploaded.fetch_add(sent, Relaxed);
            done.uploads.fetch_add(1, Relaxed);
        }
        assert_eq!(session.request("DELETE").send().status, 204);
    }
}

/// Wrong passwords of known and unknown users.
fn guess(server: &Server, done: &Done) {
    let mut pace = Pace::of(GUESSES);
    while !done.over.load(Relaxed) {
        pace.wait(1);
        let number = done.guesses.fetch_add(1, Relaxed);
        let user = if number.is_multiple_of(10) { "ann".to_owned() } else { format!("user-{}", number % 500) };
        let login = basic(&user, &number.to_string());
        let refused = http::get(&server.v2("")).header("Authorization", &login).from(HERE).send();
        assert!([401, 429].contains(&refused.status), "{}", refused.status);
    }
}

/// The number of open sockets of a server.
fn sockets(server: &Server) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap();
    let targets = open.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

/// A whole pull by a client at another address.
fn pull(server: &Server, image: &Image) {
    let login = basic("ann", &password("ann"));
    let fetch = |path: &str| {
        let stream = connect(server.url(), ELSEWHERE);
        let head =
            format!("GET /v2/library/app/{path} HTTP/1.1\nHost: a\nAccept: {ACCEPT}\nAuthorization: {login}\n\n");
        let (status, _, body) = exchange(&stream, &head);
        assert_eq!(status, 200, "{path}");
        sha256(&body)
    };
    assert_eq!(fetch("manifests/1"), image.digest());
    for blob in &image.blobs {
        assert_eq!(fetch(&format!("blobs/{}", blob.digest)), blob.digest);
    }
}

/// Raises the limit of open files for these connections.
fn open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// The figures, shown by `--nocapture`.
#[allow(clippy::print_stdout, reason = "the test runner shows it when it is asked to")]
fn report(done: &Done, memory: &Memory, pairs: &[Pair]) {
    println!("a pull under attack: {}\n  from an idle server: {}", Took::attacked(pairs), Took::idle(pairs));
    println!(
        "{memory:?}\n{} bytes of {} whole uploads taken, {} guesses; {} bytes unasked for and {} of a manifest at most on a connection",
        done.uploaded.load(Relaxed),
        done.uploads.load(Relaxed),
        done.guesses.load(Relaxed),
        done.unasked.load(Relaxed),
        done.manifest.load(Relaxed),
    );
}
