//! The tutorials for `registry:2`, command by command, with Entrepot's image in its place.

use serde_json::json;

use crate::support::{bases::UBUNTU, built::Ready, netns::Netns, pages::blocks};

fn answers(netns: &Netns, url: &str) {
    netns.until(&format!("curl -ksS -o /dev/null {url}"));
}

/// The registry has all of the image under this name.
fn has_ubuntu_as(netns: &Netns, name: &str) {
    let id = netns.sh(&format!("docker image inspect --format '{{{{.Id}}}}' {name}"));
    assert_eq!(id.trim(), UBUNTU.config, "{name}");
}

fn removes(netns: &Netns, name: &str) {
    netns.sh(&format!("docker image remove {name}"));
    let said = netns.fails(&format!("docker image inspect {}", UBUNTU.config));
    assert!(said.to_lowercase().contains("no such image"), "{said}");
}

/// Tagged, pushed, removed under both names, and pulled again.
fn there_and_back(netns: &Netns, name: &str) {
    netns.sh(&format!("docker image pull ubuntu:18.04 && docker image tag ubuntu:18.04 {name}"));
    netns.sh(&format!("docker image push {name}"));
    netns.sh("docker image remove ubuntu:18.04");
    removes(netns, name);
    netns.sh(&format!("docker image pull {name}"));
    has_ubuntu_as(netns, name);
    removes(netns, name);
}

/// "Run a local registry", and its state by curl.
#[test]
fn a_local_registry() {
    let ready = Ready::boot();
    let netns = &ready.netns;
    as_the_readme_says(netns);
    netns.sh("docker container run -d -p 5000:5000 --restart=always --name local-registry entrepot");
    answers(netns, "http://localhost:5000/v2/");
    there_and_back(netns, "localhost:5000/ubuntu:18.04");
    there_and_back(netns, "localhost:5000/user/mydistro:18.04");
    let curl = |path: &str| {
        let said = netns.sh(&format!("curl -v http://localhost:5000/v2/{path} 2>&1"));
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
    comes_back_by_itself(netns);
}

/// The README's own command, the first half of which has been done.
fn as_the_readme_says(netns: &Netns) {
    let blocks = blocks("README.md", "sh");
    let run = blocks.iter().find_map(|block| block.strip_prefix("docker build -t entrepot . && "));
    let id = netns.sh(run.expect("how to run the image"));
    answers(netns, "http://localhost:5000/v2/");
    there_and_back(netns, "localhost:5000/ubuntu:18.04");
    netns.sh(&format!("docker container rm -f {id}"));
}

/// `--restart=always`
fn comes_back_by_itself(netns: &Netns) {
    netns.sh("docker inspect --format '{{.State.Pid}}' local-registry | xargs kill -9");
    netns.until("docker inspect --format '{{.RestartCount}} {{.State.Running}}' local-registry | grep -x '1 true'");
    answers(netns, "http://localhost:5000/v2/");
    netns.sh("systemctl restart docker");
    answers(netns, "http://localhost:5000/v2/");
    netns.sh("docker image pull localhost:5000/user/mydistro:18.04");
    has_ubuntu_as(netns, "localhost:5000/user/mydistro:18.04");
    netns.sh("docker container stop local-registry && docker container rm -v local-registry");
    netns.fails("curl -fsS http://localhost:5000/v2/");
}

/// registry:2 itself, on a volume of its own, with the same commands.
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

/// "Customize the storage location": pushed content outlives its container, in registry:2's layout.
#[test]
fn a_registry_on_a_volume() {
    let ready = Ready::boot();
    let netns = &ready.netns;
    let run = "docker container run -d -p 5000:5000 --restart=always --name local-registry \
               --volume /mnt/registry:/var/lib/registry entrepot";
    netns.sh(run);
    answers(netns, "http://localhost:5000/v2/");
    there_and_back(netns, "localhost:5000/ubuntu:18.04");
    netns.sh("docker container stop local-registry && docker container rm local-registry");
    netns.sh(run);
    answers(netns, "http://localhost:5000/v2/");
    netns.sh("docker image pull localhost:5000/ubuntu:18.04");
    has_ubuntu_as(netns, "localhost:5000/ubuntu:18.04");
    netns.sh(ORIGINAL);
    // Except for Entrepot's marks on pushed repositories and on what was pulled, which registry:2 ignores.
    let tree = |volume: &str| netns.sh(&format!("cd {volume} && tree --noreport -I '_hosted|pulled' docker"));
    let (ours, original) = (tree("/mnt/registry"), tree("/mnt/original"));
    assert!(original.contains("── 18.04"), "{original}");
    assert_eq!(ours, original);
}

/// Both lists of `daemon.json` at once: the Hub's images come through the mirror, own images are pushed to it.
#[test]
fn a_mirror_and_an_insecure_registry_at_once() {
    let ready = Ready::with(&json!({
        "insecure-registries": ["myregistry.domain.com:5000"],
        "registry-mirrors": ["http://myregistry.domain.com:5000"],
    }));
    let netns = &ready.netns;
    // An address outside of the loopback network, for which docker requires TLS.
    netns.sh("ip address add 192.0.2.1/32 dev lo && echo 192.0.2.1 myregistry.domain.com >>/etc/hosts");
    netns.sh("docker container run -d --network host --name registry \
         -e REGISTRY_PROXY_REMOTEURL=http://127.0.0.1:7000 -e REGISTRY_PROXY_PUSH=true entrepot");
    answers(netns, "http://myregistry.domain.com:5000/v2/");
    there_and_back(netns, "myregistry.domain.com:5000/team/ubuntu:18.04");
    let log = netns.sh("docker logs registry 2>&1");
    for path in ["library/ubuntu/blobs/", "team/ubuntu/blobs/uploads/", "team/ubuntu/manifests/18.04"] {
        assert!(log.contains(&format!("/v2/{path}")), "no {path} in {log}");
    }
}

/// A certificate made as in the tutorial, which docker is configured to trust.
fn certified(netns: &Netns) {
    netns.sh("echo 127.0.0.1 myregistry.domain.com >>/etc/hosts");
    netns.sh("mkdir -p certs && openssl req -newkey rsa:4096 -nodes -sha256 -keyout certs/domain.key \
         -addext 'subjectAltName = DNS:myregistry.domain.com' -subj /CN=myregistry.domain.com \
         -x509 -days 365 -out certs/domain.crt");
    netns.sh("mkdir -p /etc/docker/certs.d/myregistry.domain.com \
         && cp certs/domain.crt /etc/docker/certs.d/myregistry.domain.com/ca.crt");
}

/// "Run an externally-accessible registry".
#[test]
fn a_registry_with_tls() {
    let ready = Ready::boot();
    let netns = &ready.netns;
    certified(netns);
    netns.sh("docker run -d --restart=always --name registry --volume \"$(pwd)\"/certs:/certs \
         -e REGISTRY_HTTP_ADDR=0.0.0.0:443 -e REGISTRY_HTTP_TLS_CERTIFICATE=/certs/domain.crt \
         -e REGISTRY_HTTP_TLS_KEY=/certs/domain.key -p 443:443 --health-interval 1s entrepot");
    answers(netns, "https://myregistry.domain.com/v2/");
    netns.sh("curl -fsS --cacert certs/domain.crt https://myregistry.domain.com/v2/");
    there_and_back(netns, "myregistry.domain.com/ubuntu:18.04");
    netns.sh("docker exec registry entrepot health");
}

/// "Native basic auth".
#[test]
fn a_registry_with_users() {
    let ready = Ready::boot();
    let netns = &ready.netns;
    netns.sh("mkdir auth && htpasswd -Bbn testuser testpassword >auth/htpasswd");
    netns.sh("docker run -d -p 5000:5000 --restart=always --name registry -v \"$(pwd)\"/auth:/auth \
         -e REGISTRY_AUTH=htpasswd -e \"REGISTRY_AUTH_HTPASSWD_REALM=Registry Realm\" \
         -e REGISTRY_AUTH_HTPASSWD_PATH=/auth/htpasswd entrepot");
    answers(netns, "http://localhost:5000/v2/");
    netns.sh("docker image pull ubuntu:18.04 && docker image tag ubuntu:18.04 localhost:5000/ubuntu:18.04");
    for refused in ["push", "pull"] {
        let said = netns.fails(&format!("docker image {refused} localhost:5000/ubuntu:18.04"));
        assert!(said.contains("no basic auth credentials") || said.contains("authorization"), "{refused}: {said}");
    }
    netns.fails("docker login localhost:5000 -u testuser -p wrong");
    netns.sh("docker login localhost:5000 -u testuser -p testpassword");
    there_and_back(netns, "localhost:5000/ubuntu:18.04");
    netns.sh("docker exec registry entrepot health");
}

/// The error names a missing variable, and the mounted file.
#[test]
fn users_without_their_file() {
    let ready = Ready::boot();
    let netns = &ready.netns;
    netns.sh("mkdir auth && htpasswd -Bbn testuser testpassword >auth/htpasswd");
    let said = netns.fails(
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
    let netns = &ready.netns;
    certified(netns);
    netns.sh("docker swarm init --advertise-addr 127.0.0.1 && mkdir -p /mnt/registry");
    netns.sh("docker secret create domain.crt certs/domain.crt && docker secret create domain.key certs/domain.key");
    netns.sh("docker node update --label-add registry=true $(docker node ls --quiet)");
    netns.sh("docker service create --detach --name registry --secret domain.crt --secret domain.key \
         --constraint 'node.labels.registry==true' --mount type=bind,src=/mnt/registry,dst=/var/lib/registry \
         -e REGISTRY_HTTP_ADDR=0.0.0.0:443 -e REGISTRY_HTTP_TLS_CERTIFICATE=/run/secrets/domain.crt \
         -e REGISTRY_HTTP_TLS_KEY=/run/secrets/domain.key --publish published=443,target=443,mode=host \
         --replicas 1 entrepot");
    answers(netns, "https://myregistry.domain.com/v2/");
    there_and_back(netns, "myregistry.domain.com/ubuntu:18.04");
    assert!(netns.path("/mnt/registry/docker/registry/v2/repositories/ubuntu/_manifests/tags/18.04").is_dir());
}
