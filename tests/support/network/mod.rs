//! A network namespace with only a loopback interface. That has more addresses: a public one, where docker verifies
//! certificates, which it never does on 127.0.0.0/8; and private ones of a company or a cloud.

pub(crate) mod egress_trap;
pub(crate) mod far;
pub(crate) mod netns;
pub(crate) mod pace;
pub(crate) mod tap;
pub(crate) mod wire;

use std::{env, time::Duration};

use super::{
    process::{command, run},
    scratch,
};

/// An address that counts as public.
pub(crate) const ADDRESS: &str = "192.0.2.1";
/// A cloud's metadata address, and addresses of private networks, in the form of URLs.
pub(crate) const INSIDE: [&str; 5] = ["169.254.169.254", "10.255.255.1", "172.16.255.1", "192.168.255.1", "[fd00::9]"];
/// Names of the first address, and of others.
pub(crate) const NAMES: [(&str, &str); 4] = [
    ("r.test", ADDRESS),
    ("meta.r.test", "169.254.169.254"),
    ("inside.r.test", "10.255.255.1"),
    ("here.r.test", "127.0.0.1"),
];
/// Set for the process that runs inside.
const ENTERED: &str = "ENTREPOT_TEST_NETWORK";

/// Runs the test of this name (`file::function`) in the namespace, in a process of its own.
pub(crate) fn on_its_own(test: &str, body: impl FnOnce()) {
    if env::var_os(ENTERED).is_some() {
        return body();
    }
    let add = |address: &str| format!("ip address add {} dev lo\n", address.trim_matches(['[', ']']));
    let more: String = INSIDE.iter().copied().chain([ADDRESS]).map(add).collect();
    let names: String = NAMES.iter().map(|(name, address)| format!("{address} {name}\n")).collect();
    let hosts = scratch::dir("hosts");
    std::fs::write(hosts.path().join("hosts"), format!("127.0.0.1 localhost\n{names}")).unwrap();
    let enter = format!("ip link set lo up\n{more}mount --bind \"$1\" /etc/hosts\nshift\nexec \"$@\"");
    let mut again = command("unshare");
    again.args(["--net", "--mount", "--propagation", "private", "sh", "-ec", &enter, "network"]);
    again.arg(hosts.path().join("hosts")).arg(env::current_exe().unwrap());
    again.args(["--exact", test, "--nocapture"]).envs(env::vars()).env(ENTERED, "1");
    let outcome = run(test, again, Duration::from_secs(900)).expect_success(test);
    assert!(outcome.output.contains("1 passed"), "there is no test {test}: {}", outcome.output);
}
