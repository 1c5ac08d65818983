//! The Dockerfile and the files in `deploy/`, checked by the programs that read them.

use crate::support::{
    built::{BUILT, Ready},
    netns::Netns,
    pages::read,
};

/// Built by a docker that gets its base images from Entrepot, and small beside what it was built with.
#[test]
fn the_dockerfile_is_built() {
    assert!(BUILT.log.contains("Successfully tagged entrepot:latest"), "{}", BUILT.log);
    let ready = Ready::boot();
    let netns = &ready.netns;
    let config = netns.sh("docker image inspect --format '{{json .Config}}' entrepot");
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["ExposedPorts"], serde_json::json!({ "5000/tcp": {} }));
    assert_eq!(config["Volumes"], serde_json::json!({ "/var/lib/registry": {} }));
    assert_eq!(config["User"].as_str().unwrap_or_default(), "", "root, as registry:2's");
    let history = netns.sh("docker history --quiet --no-trunc entrepot");
    assert!(!history.contains("cargo"), "the build stays behind");
    let size: u64 = netns.sh("docker image inspect --format '{{.Size}}' entrepot").trim().parse().unwrap();
    assert!(size < 400 << 20, "{size} bytes");
}

/// A change of a source file leaves the dependencies as they are.
#[test]
fn the_dockerfile_keeps_the_dependencies_of_a_changed_source() {
    let step = BUILT.again.split("Step ").find(|step| step.contains(": RUN sed ")).expect("the dependencies' step");
    assert!(step.contains("Using cache"), "{}", BUILT.again);
    let step = BUILT.again.split("Step ").find(|step| step.contains(": COPY src src")).expect("the sources' step");
    assert!(!step.contains("Using cache"), "{}", BUILT.again);
}

/// Every command line of registry:2's image, and Entrepot's own.
#[test]
fn the_image_takes_registry_2s_command_lines() {
    let ready = Ready::boot();
    let serving = |arguments: &str| {
        let run = "docker run -d --name one -p 5000:5000 entrepot";
        ready.netns.sh(&format!("{run} {arguments}"));
        ready.netns.until("curl -fs http://localhost:5000/v2/");
        ready.netns.sh("docker rm -f one");
    };
    for arguments in [
        "",
        "/etc/docker/registry/config.yml",
        "serve /etc/docker/registry/config.yml",
        "registry serve /etc/docker/registry/config.yml",
    ] {
        serving(arguments);
    }
    let netns = &ready.netns;
    assert!(netns.sh("docker run --rm entrepot --version").contains("(entrepot)"));
    assert!(netns.sh("docker run --rm entrepot config").contains("X-Content-Type-Options"));
    assert!(netns.sh("docker run --rm entrepot sh -c 'echo a shell'").contains("a shell"));
    netns.sh("docker run --rm entrepot garbage-collect --dry-run /etc/docker/registry/config.yml");
    netns.sh("docker run --rm entrepot /usr/bin/registry --version");
}

fn healthy(netns: &Netns, container: &str) {
    netns.until(&format!("docker inspect --format '{{{{.State.Health.Status}}}}' {container} | grep -x healthy"));
}

/// A server that responds is healthy; an unreachable one is not.
#[test]
fn the_image_knows_whether_it_is_healthy() {
    let ready = Ready::boot();
    let netns = &ready.netns;
    netns.sh("docker run -d --name one --health-interval 1s entrepot");
    healthy(netns, "one");
    netns.sh("docker exec one entrepot health");
    let said = netns.fails("docker exec -e REGISTRY_HTTP_ADDR=127.0.0.1:5999 one entrepot health");
    assert!(said.contains("127.0.0.1:5999") && said.contains("refused"), "{said}");
}

/// As another user, on a volume that belongs to root: the error contains the command that helps, and it helps.
#[test]
fn a_volume_of_another_user_stops_the_start_with_the_remedy() {
    let ready = Ready::boot();
    let netns = &ready.netns;
    netns.sh("mkdir /mnt/registry");
    let run = "docker run --rm --user 65532:65532 -v /mnt/registry:/var/lib/registry";
    let said = netns.fails(&format!("{run} entrepot"));
    let command = said.lines().find_map(|line| line.split_once("as root: ")).expect("a command").1;
    assert_eq!(command, "chown -R 65532:65532 /var/lib/registry");
    netns.sh(&format!("docker run --rm -v /mnt/registry:/var/lib/registry entrepot {command}"));
    netns.sh(&format!("{run} -d --name one --read-only --cap-drop ALL -p 5000:5000 entrepot"));
    netns.until("curl -fs http://localhost:5000/v2/");
}

/// The mirror and Prometheus of the compose project: the mirror responds, Prometheus scrapes it and has the rules.
#[test]
fn composes_mirror_and_prometheus_run() {
    let ready = Ready::boot();
    let netns = &ready.netns;
    let project = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/compose/compose.yaml");
    let compose = format!("docker-compose --project-name entrepot --file {project}");
    netns.sh(&format!("{compose} up -d mirror prometheus"));
    netns.until("curl -fs http://127.0.0.1:5000/v2/");
    let ask = "curl -fs 'http://127.0.0.1:9090/api/v1/query?query=up'";
    netns.until(&format!("{ask} | grep -F '\"job\":\"entrepot\"' | grep -F ',\"1\"]'"));
    let rules = netns.sh("curl -fsS http://127.0.0.1:9090/api/v1/rules");
    assert!(rules.contains(r#""type":"alerting""#), "{rules}");
    assert_eq!(netns.sh(&format!("{compose} exec -T mirror id -u")).trim(), "65532");
    let quota = netns.sh(&format!("{compose} exec -T mirror entrepot config"));
    assert!(quota.contains("quota: \"80%\""), "{quota}");
}

/// The stack in a swarm, started as the comment in its file says.
#[test]
fn the_stack_runs_in_a_swarm() {
    let ready = Ready::boot();
    let netns = &ready.netns;
    netns.sh("mkdir certs && openssl req -newkey rsa:2048 -nodes -keyout certs/domain.key -subj /CN=localhost \
         -addext 'subjectAltName = DNS:localhost' -x509 -days 365 -out certs/domain.crt && docker swarm init --advertise-addr 127.0.0.1");
    let file = "deploy/swarm/stack.yaml";
    let text = read(file);
    let steps = text.lines().filter_map(|line| line.strip_prefix("#   "));
    let steps: Vec<_> = steps.map(|step| step.replace("NODE", "$(docker node ls --quiet)")).collect();
    assert_eq!(steps.len(), 5, "{steps:?}");
    for step in &steps {
        netns.sh(&step.replace(file, &format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))));
    }
    netns.until("curl -fs --cacert certs/domain.crt https://localhost:5000/v2/");
    healthy(netns, "$(docker ps --quiet --filter name=registry_registry)");
    assert!(netns.sh("docker service logs registry_registry 2>&1").contains("listening on https://"));
}
