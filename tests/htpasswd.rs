//! `entrepot htpasswd`, from a pipe and at a terminal.

use std::{
    fs::Permissions,
    io::{Read as _, Write as _},
    os::unix::fs::{PermissionsExt as _, chown},
    process::Stdio,
    time::Duration,
};

use crate::support::{
    process, scratch,
    server::{BINARY, Setup},
    users::{Users, line},
};

/// `entrepot htpasswd` makes valid lines from a pipe, and adds them to a file.
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

/// At a terminal it prompts twice, without echo.
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

/// A htpasswd file that this process may not read stops the start with the command that helps, as a folder does.
#[test]
fn a_file_of_another_user_stops_the_start_with_the_remedy() {
    let dir = scratch::dir("unreadable");
    let (folder, data) = (dir.path().join("auth"), dir.path().join("data"));
    let users = folder.join("htpasswd");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(&users, line("ann", "secret")).unwrap();
    std::fs::set_permissions(&users, Permissions::from_mode(0o600)).unwrap();
    [&folder, &users].iter().for_each(|path| chown(path, Some(65534), Some(65534)).unwrap());
    let started = |mode: u32| {
        std::fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        let mut command = process::command("setpriv");
        // Without its capabilities, root cannot read other users' files either.
        command.args(["--bounding-set=-dac_override,-dac_read_search", "--", BINARY, "serve", "--data"]).arg(&data);
        command.env("REGISTRY_AUTH", format!("{{htpasswd: {{realm: r, path: {}}}}}", users.display()));
        command.env("REGISTRY_HTTP_ADDR", "127.0.0.1:0");
        let outcome = process::run("entrepot", command, Duration::from_secs(20));
        assert_eq!(outcome.status.code(), Some(2), "{}", outcome.output);
        outcome.output
    };
    let said = started(0o755);
    let command = said.lines().find_map(|line| line.split_once("as root: ")).unwrap_or_else(|| panic!("{said}")).1;
    assert_eq!(command, format!("chown 0:0 {}", users.display()));
    let said = started(0o700);
    assert!(said.contains(&format!("user 0 may not enter {}", folder.display())), "{said}");
}
