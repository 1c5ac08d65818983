//! Docker credential helpers: programs that print an account (`docker-credential-helpers`, "Usage"). `get` is the only
//! command used. The output is kept for a time, or until the upstream refuses it.

use std::{
    fmt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
    runtime::Handle,
    time::timeout,
};

use super::{Credentials, Error};

/// The time that the program has. A client that waits for it may leave earlier.
const RUN_TIMEOUT: Duration = Duration::from_secs(8);
/// The longest output, in bytes. An account has a few hundred.
const MAX_OUTPUT_BYTES: u64 = 64 << 10;
/// The pause after a failure, and the least age of an account that is forgotten when it is refused.
const RETRY_PAUSE: Duration = Duration::from_secs(10);
/// The name that stands for an identity token, with which no password is sent.
const IDENTITY_TOKEN: &str = "<token>";

/// A credential helper, with its latest output.
pub struct CredentialHelper(Arc<HelperInner>);

struct HelperInner {
    command: PathBuf,
    /// The URL or host that it is asked about.
    server: String,
    /// The time for which its output is used; zero: until it is refused.
    lifetime: Duration,
    latest: Mutex<Latest>,
    /// Held while the program runs.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Latest {
    credentials: Option<(Credentials, Instant)>,
    /// The time of the last failure.
    failed: Option<(Instant, Error)>,
}

impl CredentialHelper {
    /// Creates a helper; the program is not run yet.
    #[must_use]
    pub fn new(command: PathBuf, server: String, lifetime: Duration) -> Self {
        let (latest, turn) = (Mutex::default(), tokio::sync::Mutex::default());
        Self(Arc::new(HelperInner { command, server, lifetime, latest, turn }))
    }

    /// Returns the account, if the program's output is still used.
    pub(super) fn known(&self) -> Option<Credentials> {
        self.0.known()
    }

    /// Returns the account, and runs the program for it if needed: once for all who wait. The run goes on if they
    /// leave, so that the next request has the account of a program that is slower than this one's patience.
    ///
    /// # Errors
    /// [`Error::Token`] if the program fails; for a while after that, without running it again.
    pub(super) async fn get(&self) -> Result<Credentials, Error> {
        let helper = Arc::clone(&self.0);
        let run = Handle::current().spawn(async move { helper.get().await });
        run.await.unwrap_or_else(|error| Err(Error::Job(error.to_string())))
    }

    /// Forgets an account that the upstream refused, at most every [`RETRY_PAUSE`].
    pub(super) fn refuse(&self, credentials: &Credentials) {
        let mut latest = self.0.latest.lock();
        let is_latest = latest
            .credentials
            .as_ref()
            .is_some_and(|(known, since)| known == credentials && since.elapsed() >= RETRY_PAUSE);
        if is_latest {
            latest.credentials = None;
        }
    }
}

impl HelperInner {
    fn known(&self) -> Option<Credentials> {
        let latest = self.latest.lock();
        let (credentials, since) = latest.credentials.as_ref()?;
        (self.lifetime.is_zero() || since.elapsed() < self.lifetime).then(|| credentials.clone())
    }

    async fn get(&self) -> Result<Credentials, Error> {
        let _turn = self.turn.lock().await;
        if let Some(known) = self.known() {
            return Ok(known);
        }
        if let Some((at, error)) = &self.latest.lock().failed
            && at.elapsed() < RETRY_PAUSE
        {
            return Err(error.clone());
        }
        let printed = self.run().await;
        let mut latest = self.latest.lock();
        match &printed {
            Ok(credentials) => latest.credentials = Some((credentials.clone(), Instant::now())),
            Err(error) => {
                // The request that it was for may have ended before.
                tracing::warn!(server = self.server, %error, "credential helper failed");
                latest.failed = Some((Instant::now(), error.clone()));
            }
        }
        printed
    }

    async fn run(&self) -> Result<Credentials, Error> {
        let failed = |why: String| Error::Token(format!("the credential helper {}: {why}", self.command.display()));
        let printed = timeout(RUN_TIMEOUT, self.output()).await;
        let (status, output) = printed
            .map_err(|_| failed(format!("it did not end within {} s", RUN_TIMEOUT.as_secs())))?
            .map_err(|error| failed(error.to_string()))?;
        if output.len() as u64 > MAX_OUTPUT_BYTES {
            return Err(failed(format!("it printed more than {} KiB", MAX_OUTPUT_BYTES >> 10)));
        }
        if !status.success() {
            // Helpers print their errors on stdout; those that print an account have succeeded.
            let said = String::from_utf8_lossy(&output);
            let line: String = said.lines().next().unwrap_or_default().chars().take(200).collect();
            return Err(failed(format!("{status}: {line}")));
        }
        parse(&output).map_err(|why| failed(why.to_owned()))
    }

    /// Runs the program, and returns its output: one byte more than is accepted at most, and then the program is
    /// killed.
    async fn output(&self) -> std::io::Result<(ExitStatus, Vec<u8>)> {
        let mut child = Command::new(&self.command)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that needs no input may have closed it.
            let _ = stdin.write_all(format!("{}\n", self.server).as_bytes()).await;
        }
        let mut printed = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_OUTPUT_BYTES + 1).read_to_end(&mut printed).await?;
        }
        if printed.len() as u64 > MAX_OUTPUT_BYTES {
            child.start_kill()?;
        }
        Ok((child.wait().await?, printed))
    }
}

impl fmt::Debug for CredentialHelper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialHelper").field("command", &self.0.command).finish_non_exhaustive()
    }
}

/// Parses the program's output. The error does not quote it.
fn parse(output: &[u8]) -> Result<Credentials, &'static str> {
    #[derive(Deserialize)]
    struct Account {
        #[serde(rename = "Username")]
        username: String,
        #[serde(rename = "Secret")]
        secret: String,
    }
    let account: Account =
        serde_json::from_slice(output).map_err(|_| "it did not print JSON with Username and Secret")?;
    if account.username == IDENTITY_TOKEN {
        return Err("it printed an identity token, which is not supported: have it print a user and a password");
    }
    Ok(Credentials { username: account.username, password: account.secret })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_and_not_quoted() {
        let read = parse(br#"{"ServerURL":"https://r.example","Username":"me","Secret":"hunter2"}"#).unwrap();
        assert_eq!((read.username.as_str(), read.password.as_str()), ("me", "hunter2"));
        for other in ["", "hunter2", r#"{"Username":"hunter2"}"#, r#"{"Username":"<token>","Secret":"hunter2"}"#] {
            let why = parse(other.as_bytes()).unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    fn helper(dir: &std::path::Path, script: &str, lifetime: Duration) -> CredentialHelper {
        use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
        let program = dir.join("helper");
        let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o755).open(&program).unwrap();
        writeln!(file, "#!/bin/sh\n{script}").unwrap();
        drop(file);
        CredentialHelper::new(program, "https://r.example".into(), lifetime)
    }

    #[tokio::test]
    async fn the_program_is_run_once_for_a_lifetime() {
        let dir = tempfile::TempDir::new().unwrap();
        let runs = dir.path().join("runs");
        let script = format!(
            "read -r server; echo \"$1 $server\" >> {}; echo '{{\"Username\":\"me\",\"Secret\":\"s\"}}'",
            runs.display()
        );
        let helper = helper(dir.path(), &script, Duration::ZERO);
        assert!(helper.known().is_none());
        let (first, second) = tokio::join!(helper.get(), helper.get());
        assert_eq!(first.unwrap(), second.unwrap());
        assert!(helper.known().is_some());
        assert_eq!(std::fs::read_to_string(runs).unwrap(), "get https://r.example\n");
    }

    #[tokio::test]
    async fn a_failure_is_told_and_not_repeated_at_once() {
        let dir = tempfile::TempDir::new().unwrap();
        let helper = helper(dir.path(), "echo no such account; exit 1", Duration::ZERO);
        for _ in 0..2 {
            let error = helper.get().await.unwrap_err().to_string();
            assert!(error.ends_with("helper: exit status: 1: no such account"), "{error}");
        }
        let missing = CredentialHelper::new("/no/such/helper".into(), String::new(), Duration::ZERO);
        assert!(missing.get().await.unwrap_err().to_string().contains("No such file"));
    }
    #[tokio::test]
    async fn the_output_is_bounded() {
        let dir = tempfile::TempDir::new().unwrap();
        let helper = helper(dir.path(), "while :; do echo 0123456789abcdef; done", Duration::ZERO);
        let error = helper.get().await.unwrap_err().to_string();
        assert!(error.ends_with("helper: it printed more than 64 KiB"), "{error}");
    }
}
