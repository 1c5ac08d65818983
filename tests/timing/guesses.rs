//! Wrong passwords, as fast as one client can send them, do not slow down other clients.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Instant,
};

use super::pairs::{Pair, WINDOW, take_under_twice};
use crate::support::{
    http,
    images::{Blob, Format, Image},
    rounds,
    server::{Server, Setup},
    uploads::{Target, basic},
    users::{Users, password},
};

fn user(server: &Server, name: &str) -> Target {
    server.target().as_user(name, &password(name))
}

fn pull(server: &Server, layer: &Blob) {
    for _ in 0..10 {
        let response = user(server, "ann").request("GET", &format!("team/app/blobs/{}", layer.digest)).send();
        assert_eq!(response.summary().digest, layer.digest);
    }
}

/// Guessing clients are throttled, and their cost does not slow other pulls: 100,000 wrong passwords under `--soak`.
#[test]
fn guesses_do_not_slow_a_pull() {
    let users = Users::named(&["ann", "bob"]);
    let (server, idle) = (users.alone(Setup::hosting()).start(), users.alone(Setup::hosting()).start());
    let image = Image::of_size(Format::Oci, 505, 8_000_000);
    for server in [&server, &idle] {
        user(server, "ann").image("team/app", "1", &image);
    }
    let layer = image.layer();
    let pair = || Pair::of(|| pull(&server, layer), || pull(&idle, layer));
    pair();
    let (before, start, over) = (server.forget_peak_memory(), Instant::now(), AtomicBool::new(false));
    let (pairs, statuses) = std::thread::scope(|scope| {
        let guesses = scope.spawn(|| guess(&server.v2(""), rounds(100_000), &over));
        let pairs: Vec<Pair> = (0..2 * WINDOW).map(|_| pair()).collect();
        over.store(true, Relaxed);
        (pairs, guesses.join().unwrap())
    });
    assert!(statuses.iter().all(|status| [401, 429].contains(status)));
    let hashed = statuses.iter().filter(|status| **status == 401).count() as u64;
    assert!(hashed < 110 + start.elapsed().as_secs(), "{hashed} of {} were hashed", statuses.len());
    take_under_twice(&pairs);
    let grown = server.peak_above(before);
    assert!(grown < 40 << 20, "{grown} bytes");
    assert_eq!(user(&server, "bob").request("GET", "").send().status, 200, "who did not guess logs in");
}

/// Wrong passwords of many users, from another address: `least` of them, and more until it is over.
fn guess(url: &str, least: usize, over: &AtomicBool) -> Vec<u16> {
    let guess = |number: usize| {
        let value = basic(&format!("user-{}", number % 500), &number.to_string());
        let response = http::get(url).header("Authorization", &value).from("127.0.0.2").send();
        assert!(response.status != 429 || response.header("retry-after").is_some());
        response.status
    };
    (0..).take_while(|number| *number < least || !over.load(Relaxed)).map(guess).collect()
}
