//! The other files of `deploy/`, checked by the programs that read them: systemd-analyze for the unit, Kubernetes'
//! schemas, docker-compose, and Entrepot for its own files.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

use crate::support::{
    pages::read,
    process::{CommandResult, command, run},
    scratch,
    server::{BINARY, entrepot},
};

const LONG: Duration = Duration::from_secs(300);

fn said(program: &str, arguments: &[&str], dir: &Path) -> CommandResult {
    let mut command = command(program);
    let home = scratch::dir("home");
    command.args(arguments).current_dir(dir).env("HOME", home.path()).env("LANG", "C.UTF-8");
    run(program, command, LONG)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The unit is valid and has few privileges.
#[test]
fn systemd_takes_the_unit_and_finds_it_hardened() {
    let dir = scratch::dir("systemd");
    let unit = read("deploy/systemd/entrepot.service");
    assert!(unit.contains("ExecStart=/usr/local/bin/entrepot serve "));
    fs::write(dir.path().join("entrepot.service"), unit.replace("/usr/local/bin/entrepot", BINARY)).unwrap();
    let verified = said("systemd-analyze", &["verify", "--man=no", "./entrepot.service"], dir.path());
    assert_eq!(verified.expect_success("systemd-analyze verify").output, "");
    // In tenths: 20 is 2.0, of 10.
    let security = ["security", "--offline=true", "--no-pager", "--threshold=20", "./entrepot.service"];
    said("systemd-analyze", &security, dir.path()).expect_success("systemd-analyze security");
}

/// Kubernetes' schemas and their validator, kept below `target/`.
static VALIDATOR: LazyLock<PathBuf> = LazyLock::new(|| {
    let tools = root().join("target/kubernetes-validate");
    if !tools.join("complete").exists() {
        let wanted = ["install", "--quiet", "--target", tools.to_str().unwrap(), "kubernetes-validate==1.37.0"];
        said("pip3", &wanted, root()).expect_success("pip3 install kubernetes-validate");
        fs::write(tools.join("complete"), "").unwrap();
    }
    tools
});

/// The output of kustomize is valid by Kubernetes' own schemas, strictly; other references are checked by name.
#[test]
fn kubernetes_takes_the_manifests() {
    let made = said("kubectl", &["kustomize", "deploy/kubernetes"], root()).expect_success("kubectl kustomize").output;
    let (unknown, known): (Vec<_>, Vec<_>) =
        made.split("\n---\n").partition(|document| document.contains("\nkind: ServiceMonitor\n"));
    let kinds = ["Namespace", "ConfigMap", "Service", "StatefulSet"];
    for kind in kinds {
        let found = known.iter().find(|document| document.lines().any(|line| line == format!("kind: {kind}")));
        let document = found.unwrap_or_else(|| panic!("no {kind} in\n{made}"));
        let placed = document.lines().any(|line| line == "  namespace: entrepot");
        assert!(placed || kind == "Namespace", "{document}");
    }
    assert_eq!((unknown.len(), known.len()), (1, kinds.len()), "{made}");
    let dir = scratch::dir("kubernetes");
    fs::write(dir.path().join("made.yaml"), known.join("\n---\n")).unwrap();
    let mut validate = command("python3");
    validate.args(["-m", "kubernetes_validate", "--strict", "made.yaml"]).current_dir(dir.path());
    validate.env("PYTHONPATH", &*VALIDATOR);
    run("kubernetes-validate", validate, LONG).expect_success("kubernetes-validate");
    for entry in fs::read_dir(root().join("deploy/kubernetes")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let applied = read("deploy/kubernetes/kustomization.yaml").contains(&format!("- {name}\n"));
        assert!(name == "kustomization.yaml" || applied, "{name} is not applied");
    }
    let (monitor, service) = (read("deploy/kubernetes/servicemonitor.yaml"), read("deploy/kubernetes/service.yaml"));
    let label = "app.kubernetes.io/name: entrepot";
    assert!(monitor.contains(label) && service.contains(label));
    assert!(monitor.contains("- port: metrics") && service.contains("- name: metrics"));
    let set = read("deploy/kubernetes/statefulset.yaml");
    for part in
        ["runAsUser: 65532", "readOnlyRootFilesystem: true", "livenessProbe:", "readinessProbe:", "startupProbe:"]
    {
        assert!(set.contains(part), "{part}");
    }
    // Probes send no password, and anything below /v2/ asks for one if there are users.
    let paths = set.lines().filter_map(|line| line.trim().strip_prefix("path: "));
    assert_eq!(paths.collect::<Vec<_>>(), ["/healthz", "/healthz", "/readyz"], "of the probes");
}

/// The clients' files are valid in their format and name the mirror for the Hub. Those of docker, containerd and podman
/// are followed by `howtos.rs`.
#[test]
fn the_clients_files_can_be_read() {
    let read = |script: &str| {
        let mut python = command("python3");
        python.args(["-c", script]).current_dir(root().join("deploy/clients")).env("PYTHONPATH", &*VALIDATOR);
        run("python3", python, LONG).expect_success(script).output.trim().to_owned()
    };
    let toml =
        |file: &str, what: &str| read(&format!("import tomllib; f = tomllib.load(open('{file}', 'rb')); {what}"));
    let mirror = "127.0.0.1:5000";
    assert_eq!(toml("buildkit/buildkitd.toml", "print(f['registry']['docker.io']['mirrors'][0])"), mirror);
    assert_eq!(toml("buildkit/buildkitd.toml", &format!("print(f['registry']['{mirror}']['http'])")), "True");
    assert_eq!(toml("podman/mirror.conf", "print(f['registry'][0]['mirror'][0]['location'])"), mirror);
    assert_eq!(toml("containerd/hosts.toml", "print(*f['host'])"), format!("http://{mirror}"));
    let k3s =
        read("import yaml; print(yaml.safe_load(open('k3s/registries.yaml'))['mirrors']['docker.io']['endpoint'][0])");
    assert_eq!(k3s, format!("http://{mirror}"));
}

/// Every configuration of Entrepot is valid.
#[test]
fn the_configurations_are_read_without_a_warning() {
    for file in ["deploy/image/config.yml", "deploy/kubernetes/config.yml"] {
        let outcome = entrepot(&["config", root().join(file).to_str().unwrap()], &[]).expect_success(file);
        assert!(!outcome.output.contains("warning:"), "{file}: {}", outcome.output);
    }
}

#[test]
fn compose_takes_the_project_and_the_stack() {
    for file in ["deploy/compose/compose.yaml", "deploy/swarm/stack.yaml"] {
        said("docker-compose", &["--file", file, "config", "--quiet"], root()).expect_success(file);
    }
    let compose = read("deploy/compose/compose.yaml");
    for line in compose.lines().filter_map(|line| line.trim().strip_prefix("- .")) {
        let path = format!(".{}", line.split(':').next().unwrap());
        let there = root().join("deploy/compose").join(&path);
        assert!(there.exists(), "{path} is mounted, and not there");
    }
}

/// Each shell loads its script, and bash completes with it.
#[test]
fn shells_take_the_completions() {
    let dir = scratch::dir("shells");
    for shell in ["bash", "zsh", "fish"] {
        let script = entrepot(&["completions", shell], &[]).expect_success(shell).output;
        fs::write(dir.path().join(shell), script).unwrap();
        said(shell, &["-n", shell], dir.path()).expect_success(shell);
    }
    let ask = "source ./bash; COMP_WORDS=(entrepot heal) COMP_CWORD=1; \
               complete -p entrepot >/dev/null; _entrepot entrepot heal entrepot; echo \"${COMPREPLY[@]}\"";
    assert_eq!(said("bash", &["-c", ask], dir.path()).expect_success("bash").output.trim(), "health");
}
