//! The tutorials that people follow with `registry:2`, command by command, with our image in its place.

use serde_json::json;

use crate::support::{bases::UBUNTU, built::Ready, machine::Machine, pages::blocks};

fn answers(machine: &Machine, url: &str) {
    machine.until(&format!("curl -ksS -o /dev/null {url}"));
}

/// Has all of the image, and by this name.
fn has_ubuntu_as(machine: &Machine, name: &str) {
    let id = machine.sh(&format!("docker image inspect --format '{{{{.Id}}}}' {name}"));
    assert_eq!(id.trim(), UBUNTU.config, "{name}");
}

fn removes(machine: &Machine, name: &str) {
    machine.sh(&format!("docker image remove {name}"));
    let said = machine.fails(&format!("docker image inspect {}", UBUNTU.config));
    assert!(said.to_lowercase().contains("no such image"), "{said}");
}

/// Tagged, pushed, removed under both names, and pulled again.
fn there_and_back(machine: &Machine, name: &str) {
    machine.sh(&format!("docker image pull ubuntu:18.04 && docker image tag ubuntu:18.04 {name}"));
    machine.sh(&format!("docker image push {name}"));
    machine.sh("docker image remove ubuntu:18.04");
    removes(machine, name);
    machine.sh(&format!("docker image pull {name}"));
    has_ubuntu_as(machine, name);
    removes(machine, name);
}

/// "Run a local registry", and what curl shows of it.
#[test]
fn a_local_registry() {
    let ready = Ready::boot();
    let machine = &ready.machine;
    as_the_readme_says(machine);
    machine.sh("docker container run -d -p 5000:5000 --restart=always --name local-registry entrepot");
    answers(machine, "http://localhost:5000/v2/");
    there_and_back(machine, "localhost:5000/ubuntu:18.04");
    there_and_back(machine, "localhost:5000/user/mydistro:18.04");
    let curl = |path: &str| {
        let said = machine.sh(&format!("curl -v http://localhost:5000/v2/{path} 2>&1"));
        let lower = said.to_lowercase();
        assert!(lower.contains("< http/1.1 200 ok"), "{said}");
        assert!(lower.contains("< docker-distribution-api-version: registry/2.0"), "{said}");
        assert!(lower.contains("< x-content-type-options: nosniff"), "{said}");
        said
    };
    assert!(curl("_catalog").contains(r#"{"repositories":["ubuntu","user/mydistro"]}"#));
    assert!(curl("ubuntu/tags/list").contains(r#"{"name":"ubuntu","tags":["18.04"]}"#));
    assert!(curl("ubuntu/manifests/18.04").to_lowercase().contains("< docker-content-digest: sha256:"));
    assert!(curl("user/mydistro/tags/list").contains(r#""tags":["18.04"]"#));
    comes_back_by_itself(machine);
}

/// The README's own command, of which the first half has been done.
fn as_the_readme_says(machine: &Machine) {
    let blocks = blocks("README.md", "sh");
    let run = blocks.iter().find_map(|block| block.strip_prefix("docker build -t entrepot . && "));
    let id = machine.sh(run.expect("how to run the image"));
    answers(machine, "http://localhost:5000/v2/");
    there_and_back(machine, "localhost:5000/ubuntu:18.04");
    machine.sh(&format!("docker container rm -f {id}"));
}

/// `--restart=always`
fn comes_back_by_itself(machine: &Machine) {
    machine.sh("docker inspect --format '{{.State.Pid}}' local-registry | xargs kill -9");
    machine.until("docker inspect --format '{{.RestartCount}} {{.State.Running}}' local-registry | grep -x '1 true'");
    answers(machine, "http://localhost:5000/v2/");
    machine.sh("systemctl restart docker");
    answers(machine, "http://localhost:5000/v2/");
    machine.sh("docker image pull localhost:5000/user/mydistro:18.04");
    has_ubuntu_as(machine, "localhost:5000/user/mydistro:18.04");
    machine.sh("docker container stop local-registry && docker container rm -v local-registry");
    machine.fails("curl -fsS http://localhost:5000/v2/");
}

/// registry:2 itself, on a volume of its own, given the same.
const ORIGINAL: &str = "
mkdir -p /mnt/original
cat >original.yml <<'END'
version: 0.1
storage: {filesystem: {rootdirectory: /mnt/original}}
http: {addr: '127.0.0.1:5555'}
END
OTEL_TRACES_EXPORTER=none setsid docker-registry serve original.yml >/dev/null 2>&1 &
for attempt in $(seq 600); do curl -fs http://127.0.0.1:5555/v2/ && break; sleep 0.1; done
docker image pull ubuntu:18.04
docker image tag ubuntu:18.04 127.0.0.1:5555/ubuntu:18.04
docker image push 127.0.0.1:5555/ubuntu:18.04
";

/// "Customize the storage location": what was pushed outlives its container, in registry:2's layout.
#[test]
fn a_registry_on_a_volume() {
    let ready = Ready::boot();
    let machine = &ready.machine;
    let run = "docker container run -d -p 5000:5000 --restart=always --name local-registry \
               --volume /mnt/registry:/var/lib/registry entrepot";
    machine.sh(run);
    answers(machine, "http://localhost:5000/v2/");
    there_and_back(machine, "localhost:5000/ubuntu:18.04");
    machine.sh("docker container stop local-registry && docker container rm local-registry");
    machine.sh(run);
    answers(machine, "http://localhost:5000/v2/");
    machine.sh("docker image pull localhost:5000/ubuntu:18.04");
    has_ubuntu_as(machine, "localhost:5000/ubuntu:18.04");
    machine.sh(ORIGINAL);
    // But for our mark on what was pushed to, which registry:2 passes over.
    let tree = |volume: &str| machine.sh(&format!("cd {volume} && tree --noreport -I _hosted docker"));
    let (ours, original) = (tree("/mnt/registry"), tree("/mnt/original"));
    assert!(original.contains("── 18.04"), "{original}");
    assert_eq!(ours, original);
}

/// Both lists of `daemon.json` at once: what is the Hub's comes through it, what is ours goes to it.
#[test]
fn a_mirror_and_an_insecure_registry_at_once() {
    let ready = Ready::with(&json!({
        "insecure-registries": ["myregistry.domain.com:5000"],
        "registry-mirrors": ["http://myregistry.domain.com:5000"],
    }));
    let machine = &ready.machine;
    // No address of the loopback network, which docker never asks TLS of.
    machine.sh("ip address add 192.0.2.1/32 dev lo && echo 192.0.2.1 myregistry.domain.com >>/etc/hosts");
    machine.sh("docker container run -d --network host --name registry \
         -e REGISTRY_PROXY_REMOTEURL=http://127.0.0.1:7000 -e REGISTRY_PROXY_PUSH=true entrepot");
    answers(machine, "http://myregistry.domain.com:5000/v2/");
    there_and_back(machine, "myregistry.domain.com:5000/team/ubuntu:18.04");
    let log = machine.sh("docker logs registry 2>&1");
    for path in ["library/ubuntu/blobs/", "team/ubuntu/blobs/uploads/", "team/ubuntu/manifests/18.04"] {
        assert!(log.contains(&format!("/v2/{path}")), "no {path} in {log}");
    }
}

/// A certificate as the tutorial makes it, which docker is told to believe.
fn certified(machine: &Machine) {
    machine.sh("echo 127.0.0.1 myregistry.domain.com >>/etc/hosts");
    machine.sh("mkdir -p certs && openssl req -newkey rsa:4096 -nodes -sha256 -keyout certs/domain.key \
         -addext 'subjectAltName = DNS:myregistry.domain.com' -subj /CN=myregistry.domain.com \
         -x509 -days 365 -out certs/domain.crt");
    machine.sh("mkdir -p /etc/docker/certs.d/myregistry.domain.com \
         && cp certs/domain.crt /etc/docker/certs.d/myregistry.domain.com/ca.crt");
}

/// "Run an externally-accessible registry".
#[test]
fn a_registry_with_tls() {
    let ready = Ready::boot();
    let machine = &ready.machine;
    certified(machine);
    machine.sh("docker run -d --restart=always --name registry --volume \"$(pwd)\"/certs:/certs \
         -e REGISTRY_HTTP_ADDR=0.0.0.0:443 -e REGISTRY_HTTP_TLS_CERTIFICATE=/certs/domain.crt \
         -e REGISTRY_HTTP_TLS_KEY=/certs/domain.key -p 443:443 --health-interval 1s entrepot");
    answers(machine, "https://myregistry.domain.com/v2/");
    machine.sh("curl -fsS --cacert certs/domain.crt https://myregistry.domain.com/v2/");
    there_and_back(machine, "myregistry.domain.com/ubuntu:18.04");
    machine.sh("docker exec registry entrepot health");
}

/// "Native basic auth".
#[test]
fn a_registry_with_users() {
    let ready = Ready::boot();
    let machine = &ready.machine;
    machine.sh("mkdir auth && htpasswd -Bbn testuser testpassword >auth/htpasswd");
    machine.sh("docker run -d -p 5000:5000 --restart=always --name registry -v \"$(pwd)\"/auth:/auth \
         -e REGISTRY_AUTH=htpasswd -e \"REGISTRY_AUTH_HTPASSWD_REALM=Registry Realm\" \
         -e REGISTRY_AUTH_HTPASSWD_PATH=/auth/htpasswd entrepot");
    answers(machine, "http://localhost:5000/v2/");
    machine.sh("docker image pull ubuntu:18.04 && docker image tag ubuntu:18.04 localhost:5000/ubuntu:18.04");
    for refused in ["push", "pull"] {
        let said = machine.fails(&format!("docker image {refused} localhost:5000/ubuntu:18.04"));
        assert!(said.contains("no basic auth credentials") || said.contains("authorization"), "{refused}: {said}");
    }
    machine.fails("docker login localhost:5000 -u testuser -p wrong");
    machine.sh("docker login localhost:5000 -u testuser -p testpassword");
    there_and_back(machine, "localhost:5000/ubuntu:18.04");
    machine.sh("docker exec registry entrepot health");
}

/// A forgotten variable is named, and the file that was mounted for it.
#[test]
fn users_without_their_file() {
    let ready = Ready::boot();
    let machine = &ready.machine;
    machine.sh("mkdir auth && htpasswd -Bbn testuser testpassword >auth/htpasswd");
    let said = machine.fails(
        "docker run --rm -v \"$(pwd)\"/auth:/auth -e REGISTRY_AUTH=htpasswd \
         -e \"REGISTRY_AUTH_HTPASSWD_REALM=Registry Realm\" entrepot",
    );
    for part in ["REGISTRY_AUTH_HTPASSWD_PATH", "/auth/htpasswd"] {
        assert!(said.contains(part), "no {part} in {said}");
    }
}

/// "Run the registry as a service".
#[test]
fn a_registry_in_a_swarm() {
    let ready = Ready::boot();
    let machine = &ready.machine;
    certified(machine);
    machine.sh("docker swarm init --advertise-addr 127.0.0.1 && mkdir -p /mnt/registry");
    machine.sh("docker secret create domain.crt certs/domain.crt && docker secret create domain.key certs/domain.key");
    machine.sh("docker node update --label-add registry=true $(docker node ls --quiet)");
    machine.sh("docker service create --detach --name registry --secret domain.crt --secret domain.key \
         --constraint 'node.labels.registry==true' --mount type=bind,src=/mnt/registry,dst=/var/lib/registry \
         -e REGISTRY_HTTP_ADDR=0.0.0.0:443 -e REGISTRY_HTTP_TLS_CERTIFICATE=/run/secrets/domain.crt \
         -e REGISTRY_HTTP_TLS_KEY=/run/secrets/domain.key --publish published=443,target=443,mode=host \
         --replicas 1 entrepot");
    answers(machine, "https://myregistry.domain.com/v2/");
    there_and_back(machine, "myregistry.domain.com/ubuntu:18.04");
    assert!(machine.path("/mnt/registry/docker/registry/v2/repositories/ubuntu/_manifests/tags/18.04").is_dir());
}
