//! Tests of logging in against real files of users.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::*;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct File {
    dir: TempDir,
    runtime: tokio::runtime::Runtime,
}

impl File {
    fn new(text: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let file = Self { dir: tempfile::tempdir().unwrap(), runtime };
        file.write(text);
        file
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("htpasswd")
    }

    #[allow(clippy::disallowed_methods, reason = "a test's own file")]
    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }

    fn open(&self) -> Result<Authenticator, Error> {
        Authenticator::open(Blocking::in_test(), &self.path(), self.runtime.handle().clone())
    }

    fn log_in(&self, authenticator: &Authenticator, user: &str, password: &str) -> Result<Principal, LoginError> {
        self.log_in_from(HERE, authenticator, user, password)
    }

    fn log_in_from(
        &self,
        from: IpAddr,
        authenticator: &Authenticator,
        user: &str,
        password: &str,
    ) -> Result<Principal, LoginError> {
        if authenticator.is_check_due() {
            authenticator.refresh(Blocking::in_test());
        }
        self.runtime.block_on(authenticator.log_in(from, user, password))
    }
}

fn line(user: &str, password: &str, cost: u32) -> String {
    format!("{user}:{}\n", bcrypt::hash(password, cost).unwrap())
}

#[test]
fn the_right_password_lets_in_and_no_other() {
    let file = File::new(&(line("ann", "secret", 4) + "bob plain\n"));
    let authenticator = file.open().unwrap();
    assert_eq!(file.log_in(&authenticator, "ann", "secret"), Ok(Principal::user("ann")));
    assert_eq!(file.log_in(&authenticator, "ann", "secret"), Ok(Principal::user("ann")), "remembered");
    for (user, password) in [("ann", "Secret"), ("ann", ""), ("bob", "plain"), ("", ""), ("nobody", "secret")] {
        assert_eq!(file.log_in(&authenticator, user, password), Err(LoginError::Wrong), "{user} {password}");
    }
}

/// A verified password is not hashed again: thousands of requests cost less than one verification.
#[test]
fn a_verified_password_is_cached() {
    let file = File::new(&line("ann", "secret", 10));
    let authenticator = file.open().unwrap();
    let start = Instant::now();
    file.log_in(&authenticator, "ann", "secret").unwrap();
    let first = start.elapsed();
    let start = Instant::now();
    for _ in 0..20 {
        file.log_in(&authenticator, "ann", "secret").unwrap();
    }
    assert!(start.elapsed() < first, "{:?} after {first:?}", start.elapsed());
}

#[test]
fn many_at_once_with_the_right_password_all_get_in() {
    let file = File::new(&line("ann", "secret", 8));
    let authenticator = Arc::new(file.open().unwrap());
    let all: Vec<_> = (0..200)
        .map(|_| {
            let authenticator = Arc::clone(&authenticator);
            file.runtime.handle().spawn(async move { authenticator.log_in(HERE, "ann", "secret").await })
        })
        .collect();
    for one in all {
        assert_eq!(file.runtime.block_on(one).unwrap(), Ok(Principal::user("ann")));
    }
}

/// Hashing runs on threads of its own, at most on half of the cores, even for cancelled requests.
#[test]
fn hashing_blocks_no_other_task() {
    let file = File::new(&line("ann", "secret", 12));
    let authenticator = Arc::new(file.open().unwrap());
    let permits = authenticator.slots.available_permits();
    let handle = file.runtime.handle();
    let guess = |number: usize| {
        let authenticator = Arc::clone(&authenticator);
        // Different users, so that none is throttled; an unknown user's password takes as long as a known one's.
        handle.spawn(async move { authenticator.log_in(HERE, &format!("user-{number}"), "guess").await })
    };
    let guesses: Vec<_> = (0..2 * permits).map(guess).collect();
    // The one thread of the runtime is free meanwhile.
    let late = file.runtime.block_on(handle.spawn(async {
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            let start = Instant::now();
            tokio::time::sleep(Duration::from_millis(5)).await;
            longest = longest.max(start.elapsed());
        }
        longest
    }));
    assert_eq!(authenticator.slots.available_permits(), 0, "all who may are at it");
    guesses.iter().for_each(tokio::task::JoinHandle::abort);
    std::thread::sleep(Duration::from_millis(10));
    assert_eq!(authenticator.slots.available_permits(), 0, "who left makes no room for others before it is done");
    let start = Instant::now();
    assert_eq!(file.log_in(&authenticator, "ann", "another"), Err(LoginError::Wrong));
    let took = start.elapsed();
    assert!(late.unwrap() < Duration::from_millis(100).max(took / 2), "{took:?}");
}

#[test]
fn a_failing_client_waits_and_a_logged_in_one_does_not() {
    let file = File::new(&(line("ann", "secret", 4) + &line("bob", "secret", 4)));
    let authenticator = file.open().unwrap();
    file.log_in(&authenticator, "ann", "secret").unwrap();
    let answers: Vec<_> =
        (0..50).map(|number| file.log_in(&authenticator, "ann", &format!("guess {number}"))).collect();
    assert!(answers[..10].iter().all(|answer| *answer == Err(LoginError::Wrong)));
    assert!(answers[20..].iter().all(|answer| matches!(answer, Err(LoginError::Throttled { .. }))), "{answers:?}");
    assert!(file.log_in(&authenticator, "ann", "secret").is_ok(), "a password that was right a moment ago");
    assert!(file.log_in(&authenticator, "bob", "secret").is_ok(), "another user");
}

#[test]
fn an_unknown_user_takes_as_long_as_a_known_one() {
    let file = File::new(&line("ann", "secret", 9));
    let authenticator = file.open().unwrap();
    let took = |user: &str, number: usize| {
        // Each attempt from another address, because more than ten from one would be throttled.
        let from = IpAddr::from([127, 0, 1, u8::try_from(number).unwrap()]);
        let start = Instant::now();
        let refused = file.log_in_from(from, &authenticator, user, &format!("{number}"));
        assert_eq!(refused, Err(LoginError::Wrong));
        start.elapsed()
    };
    // The quickest of several alternating attempts, because other load slows both down now and then. A busy machine
    // gets more attempts; if one case were quicker, no number of attempts would make them equal.
    let (mut both, mut ratio) = (Vec::new(), 0.0);
    while both.len() < 8 || (both.len() < 48 && !(0.5..2.0).contains(&ratio)) {
        both.push((took("ann", both.len()), took("nobody", both.len())));
        let (known, unknown) = (both.iter().map(|both| both.0).min(), both.iter().map(|both| both.1).min());
        ratio = known.unwrap().as_secs_f64() / unknown.unwrap().as_secs_f64();
    }
    assert!((0.5..2.0).contains(&ratio), "{both:?}");
}

#[test]
fn a_changed_file_counts_at_once_and_a_broken_one_does_not() {
    let file = File::new(&line("ann", "old", 4));
    let authenticator = file.open().unwrap();
    let wait = || std::thread::sleep(Duration::from_millis(1050));
    file.log_in(&authenticator, "ann", "old").unwrap();
    file.write(&(line("ann", "new", 4) + &line("bob", "pw", 4)));
    wait();
    assert!(file.log_in(&authenticator, "bob", "pw").is_ok());
    assert!(file.log_in(&authenticator, "ann", "new").is_ok());
    assert_eq!(
        file.log_in(&authenticator, "ann", "old"),
        Err(LoginError::Wrong),
        "it was remembered, and is forgotten"
    );
    file.write("ann plain\n");
    wait();
    assert!(file.log_in(&authenticator, "ann", "new").is_ok(), "the old users stay");
    fs::remove_file(file.path()).unwrap();
    wait();
    assert!(file.log_in(&authenticator, "bob", "pw").is_ok());
    file.write(&line("ann", "new", 4));
    wait();
    assert_eq!(file.log_in(&authenticator, "bob", "pw"), Err(LoginError::Wrong));
}

#[test]
fn a_file_without_users_stops_the_start() {
    for text in ["", "# nobody\n", "testuser test123\n", "bob:plain\n"] {
        let error = File::new(text).open().unwrap_err().to_string();
        assert!(error.contains("no line of it lets a user in") && error.contains("entrepot htpasswd"), "{error}");
        assert!(!error.contains("test123") && !error.contains("plain"), "{error}");
    }
}

#[test]
fn a_missing_file_is_made() {
    let file = File::new("");
    fs::remove_file(file.path()).unwrap();
    let path = file.dir.path().join("deep/er/htpasswd");
    Authenticator::open(Blocking::in_test(), &path, file.runtime.handle().clone()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("docker:$2b$10$") && text.lines().count() == 1, "{text}");
    Authenticator::open(Blocking::in_test(), &path, file.runtime.handle().clone()).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "made once");
}
