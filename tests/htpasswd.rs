//! `entrepot htpasswd`, from a pipe and at a terminal.

use std::{
    io::{Read as _, Write as _},
    process::Stdio,
};

use crate::support::{
    process,
    server::Setup,
    users::{Users, line},
};

/// `entrepot htpasswd` makes lines that let users in, from a pipe, and puts them into a file.
#[test]
fn htpasswd_makes_lines_that_let_users_in() {
    let users = Users::named(&["ann"]);
    let file = users.path();
    let file = file.to_str().unwrap();
    let made = piped(&["htpasswd", "bob"], "new-password\n");
    assert!(made.starts_with("bob:$2b$10$") && made.lines().count() == 1, "{made}");
    users.write(&format!("# mine\n{}ann ann\n", line("bob", "old")));
    piped(&["htpasswd", "--file", file, "bob"], "new-password");
    piped(&["htpasswd", "ann", "--file", file], "another\r\n");
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.starts_with("# mine\nbob:$2b$10$") && text.lines().count() == 3, "{text}");
    let server = users.alone(Setup::hosting()).start();
    for (user, password, wanted) in [("bob", "new-password", 200), ("bob", "old", 401), ("ann", "another", 200)] {
        assert_eq!(server.target().as_user(user, password).request("GET", "").send().status, wanted, "{user}");
    }
}

fn piped(arguments: &[&str], input: &str) -> String {
    let mut command = process::command(env!("CARGO_BIN_EXE_entrepot"));
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// At a terminal it asks, twice, and shows nothing of what is typed.
#[test]
fn htpasswd_asks_at_a_terminal() {
    for (second, code) in [("typed-secret", 0), ("something else", 1)] {
        let mut command = process::command("script");
        let program = format!("{} htpasswd bob", env!("CARGO_BIN_EXE_entrepot"));
        command.args(["--quiet", "--return", "--command", &program, "/dev/null"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut shown = Vec::new();
        for (prompt, typed) in [("Password for bob: ", "typed-secret"), ("The same again: ", second)] {
            while !String::from_utf8_lossy(&shown).contains(prompt) {
                let mut byte = [0];
                screen.read_exact(&mut byte).unwrap();
                shown.extend(byte);
            }
            writeln!(keyboard, "{typed}").unwrap();
        }
        screen.read_to_end(&mut shown).unwrap();
        let shown = String::from_utf8(shown).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{shown}");
        assert_eq!(shown.contains("bob:$2b$10$"), code == 0, "{shown}");
        assert!(!shown.contains("typed-secret"), "{shown}");
    }
}
