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
/// The minimum number of timed pulls, of each server.
const PAIRS: usize = 20;
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

/// Another client's pull takes less than twice its time, and memory stays constant.
#[test]
fn a_siege_costs_the_others_nothing() {
    open_files();
    let (upstream, image) = (Upstream::plain(), Image::of_size(Format::Oci, 601, 8_000_000));
    upstream.add("library/app", "1", &image);
    let large = Blob::noise(602, 30_000_000);
    upstream.add_blob("library/app", &large);
    let users = Users::named(&["ann", "eve"]);
    let lines = std::fs::read_to_string(users.path()).unwrap();
    users.write(&format!("{lines}old:{}\n", bcrypt::hash("nobody's", COST).unwrap()));
    let server = users.alone(Setup::both(&upstream.url())).start();
    let eve = server.target().as_user("eve", &password("eve"));
    eve.request("GET", &format!("library/app/blobs/{}", large.digest)).send().summary();
    // An idle server shows by how much the machine itself has become slower.
    let other = users.alone(Setup::both(&upstream.url())).start();
    let quiet = Took::of(&pulls(&server, &other, &image, || false), |pair| pair.0);
    let (whole, guesses) = (rounds(10) as u64 * 1_000_000_000, rounds(100_000) as u64);
    // Before, when all attackers are there and an upload has finished, and the most from then on.
    let (done, mut memory) = (Done::default(), [server.memory(), 0, 0]);
    let besieged = thread::scope(|scope| {
        let end = End(&done.over);
        scope.spawn(|| never_read(&server, &large, &done));
        scope.spawn(|| drip(&server, &done));
        scope.spawn(|| flood(&server, &eve, &done));
        scope.spawn(|| upload(&eve, whole, &done));
        scope.spawn(|| guess(&server, &done));
        wait_until("the last besieger", Duration::from_secs(60), || done.gathered.load(Relaxed) == 2);
        wait_until("all to be let in", Duration::from_secs(60), || sockets(&server) >= 2 * CONNECTIONS);
        let start = Instant::now();
        let until = |least: u64, uploads: u64, guesses: u64| {
            let came = done.uploads.load(Relaxed) >= uploads && done.guesses.load(Relaxed) >= guesses;
            start.elapsed() < Duration::from_secs(least) || !came && start.elapsed() < LONGEST
        };
        // Longer than the time limit for a head, and until a whole upload has finished; then the rest, and another one.
        let mut all = pulls(&server, &other, &image, || until(15, 1, 0));
        memory[1] = server.memory();
        server.forget_peak_memory();
        all.extend(pulls(&server, &other, &image, || until(25, 2, guesses)));
        wait_until("who was let go to come again", Duration::from_secs(20), || sockets(&server) >= 2 * CONNECTIONS);
        drop(end);
        memory[2] = server.peak_memory();
        all
    });
    let (besieged, elsewhere) = (Took::of(&besieged, |pair| pair.0), Took::of(&besieged, |pair| pair.1));
    report(&done, &memory, [quiet, besieged, elsewhere]);
    took_no_longer(besieged, quiet, elsewhere);
    let [before, settled, most] = memory;
    assert!(most < before + (32 << 20) + 2 * CONNECTIONS as u64 * (64 << 10), "a connection's worth: {memory:?}");
    assert!(most < settled + (32 << 20), "a second upload costs no more: {memory:?}");
    did_what_they_may(&done, 2 * whole, guesses);
    for logged in ["http.limits.headtime", "http.limits.manifest", "sent on and on after it was answered"] {
        wait_until(logged, Duration::from_secs(10), || server.log().contains(logged));
    }
}

/// At most twice the time without load, or of another server meanwhile.
fn took_no_longer(took: Took, quiet: Took, elsewhere: Took) {
    for (took, quiet, elsewhere) in
        [(took.best, quiet.best, elsewhere.best), (took.median, quiet.median, elsewhere.median)]
    {
        let said = format!("a pull took {took:?}; {quiet:?} in peace, {elsewhere:?} from another server meanwhile");
        assert!(took < quiet.max(elsewhere) * 2, "{said}");
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

/// The times of pulls. The minimum shows the cost of the attack without other load; the median shows that it holds for
/// most pulls.
#[derive(Clone, Copy, Debug)]
struct Took {
    best: Duration,
    median: Duration,
}

impl Took {
    fn of(pairs: &[(Duration, Duration)], which: fn(&(Duration, Duration)) -> Duration) -> Self {
        let mut all: Vec<Duration> = pairs.iter().map(which).collect();
        all.sort_unstable();
        Self { best: all[0], median: all[all.len() / 2] }
    }
}

/// Pulls by a client at another address, from the one and the other server in turn; more of them while `goes_on`.
fn pulls(server: &Server, other: &Server, image: &Image, goes_on: impl Fn() -> bool) -> Vec<(Duration, Duration)> {
    let mut pairs = Vec::new();
    while pairs.len() < PAIRS || goes_on() {
        pairs.push((pull(server, image), pull(other, image)));
        if pairs.len() >= PAIRS {
            thread::sleep(Duration::from_millis(100));
        }
    }
    pairs
}

/// The number of open sockets of a server.
fn sockets(server: &Server) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap();
    let targets = open.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

fn pull(server: &Server, image: &Image) -> Duration {
    let (start, login) = (Instant::now(), basic("ann", &password("ann")));
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
    start.elapsed()
}

/// Raises the limit of open files for these connections.
fn open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// The figures, shown by `--nocapture`.
#[allow(clippy::print_stdout, reason = "the test runner shows it when it is asked to")]
fn report(done: &Done, memory: &[u64; 3], [quiet, besieged, elsewhere]: [Took; 3]) {
    println!(
        "a pull in peace: {quiet:?}\n   besieged: {besieged:?}\n   from another server: {elsewhere:?}\nmemory in MiB: {:?}\n\
         {} bytes of {} whole uploads taken, {} guesses; {} bytes unasked for and {} of a manifest at most on a connection",
        memory.map(|bytes| bytes >> 20),
        done.uploaded.load(Relaxed),
        done.uploads.load(Relaxed),
        done.guesses.load(Relaxed),
        done.unasked.load(Relaxed),
        done.manifest.load(Relaxed),
    );
}
