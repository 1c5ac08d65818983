//! A network of a test's own: nothing on it but its loopback interface. That one has an address more, which docker does not
//! take for the loopback network's: there it verifies certificates, which it never does on 127.0.0.0/8.

use std::{env, time::Duration};

use super::process::{command, run};

/// Where a server listens that docker is to verify.
pub(crate) const ADDRESS: &str = "192.0.2.1";
/// Set for the process that runs inside.
const INSIDE: &str = "ENTREPOT_TEST_NETWORK";

/// Runs the test of this name (`file::function`) there, in a process of its own.
pub(crate) fn on_its_own(test: &str, body: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        return body();
    }
    let enter = format!("ip link set lo up && ip address add {ADDRESS}/32 dev lo && exec \"$@\"");
    let mut again = command("unshare");
    again.args(["--net", "sh", "-ec", &enter, "network"]).arg(env::current_exe().unwrap());
    again.args(["--exact", test, "--nocapture"]).envs(env::vars()).env(INSIDE, "1");
    let outcome = run(test, again, Duration::from_secs(900)).expect_success(test);
    assert!(outcome.output.contains("1 passed"), "there is no test {test}: {}", outcome.output);
}
