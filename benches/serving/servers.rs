//! The measured servers: each with a configuration that suits it and does no unnecessary work.

use std::{fs, net::TcpStream, path::Path, time::Duration};

use tempfile::TempDir;

use crate::{
    content::{Content, Piece, REPOSITORY, TAG},
    load,
    support::{
        images::Format,
        ports::Port,
        process::{Process, command},
        scratch,
        server::{Server, Setup},
        wait_until,
    },
    target::Target,
};

/// The rate of the throttled upstream, 100 MB/s, in KiB/s for each connection. It serves no ranges, so that several
/// connections for one blob are no faster.
pub(crate) const THROTTLED: u64 = 97_656;
const PROGRAMS: [(&str, &str); 3] = [("nginx", "nginx"), ("docker-registry", "docker-registry"), ("wrk", "wrk")];

/// Panics with the packages to install, if one is missing.
pub(crate) fn check_installed() {
    let places = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
    for (program, package) in PROGRAMS {
        let found = places.iter().any(|place| Path::new(place).join(program).is_file());
        assert!(found, "`{program}` is not on this machine: apt-get install {package}");
    }
}

/// nginx with the content as static files, at full speed and throttled.
pub(crate) struct Nginx {
    process: Process,
    port: Port,
    throttled: Port,
    _dir: TempDir,
}

impl Nginx {
    pub(crate) fn start(content: &Content) -> Self {
        let (dir, port, throttled) = (scratch::dir("nginx"), Port::reserve(), Port::reserve());
        let repository = dir.path().join("www/v2").join(REPOSITORY);
        for blob in [&content.large, &content.small] {
            blob.link_to(&repository.join("blobs").join(&blob.digest));
        }
        for reference in [TAG, &content.manifest.digest] {
            content.manifest.link_to(&repository.join("manifests").join(reference));
        }
        let config = dir.path().join("nginx.conf");
        fs::write(&config, nginx_configuration(dir.path(), &port, &throttled)).unwrap();
        // Its workers outlive a master that is killed, but not their process namespace.
        let mut serve = command("unshare");
        serve.args(["--pid", "--fork", "--kill-child", "nginx", "-e", "stderr", "-c"]).arg(config);
        let process = Process::start("nginx", serve);
        wait_for_port(&port.addr().to_string());
        Self { process, port, throttled, _dir: dir }
    }

    pub(crate) fn target(&self) -> Target {
        Target { name: "nginx", address: self.port.addr().to_string(), pid: self.process.id() }
    }

    pub(crate) fn throttled(&self) -> Target {
        Target { name: "nginx, throttled", address: self.throttled.addr().to_string(), pid: self.process.id() }
    }
}

fn nginx_configuration(dir: &Path, port: &Port, throttled: &Port) -> String {
    let (dir, port, throttled, manifest) = (dir.display(), port.addr(), throttled.addr(), Format::Oci.manifest());
    let scratch: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {dir}/{what};\n"))
        .concat();
    format!(
        "daemon off; user root; worker_processes 2; pid {dir}/pid; error_log stderr error;
        events {{ worker_connections 4096; }}
        http {{
            {scratch}
            access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
            default_type application/octet-stream; root {dir}/www;
            server {{ listen {port}; location ~ /manifests/ {{ default_type {manifest}; }} }}
            server {{ listen {throttled}; max_ranges 0; limit_rate {THROTTLED}k; location ~ /manifests/ {{ default_type {manifest}; }} }}
        }}"
    )
}

/// Debian's docker-registry with the content in its store.
pub(crate) struct Distribution {
    process: Process,
    port: Port,
    _dir: TempDir,
}

impl Distribution {
    pub(crate) fn start(content: &Content) -> Self {
        let (dir, port) = (scratch::dir("distribution"), Port::reserve());
        store(&dir.path().join("data/docker/registry/v2"), content);
        let config = dir.path().join("config.yml");
        let (root, address) = (dir.path().join("data"), port.addr());
        let text = format!(
            "version: 0.1\nlog: {{ level: error, accesslog: {{ disabled: true }} }}\nhttp: {{ addr: \"{address}\" }}\n\
             storage: {{ filesystem: {{ rootdirectory: \"{}\" }}, cache: {{ blobdescriptor: inmemory }} }}\n",
            root.display(),
        );
        fs::write(&config, text).unwrap();
        let mut serve = command("docker-registry");
        serve.arg("serve").arg(config).env("OTEL_TRACES_EXPORTER", "none");
        let process = Process::start("docker-registry", serve);
        wait_for_port(&address.to_string());
        Self { process, port, _dir: dir }
    }

    pub(crate) fn target(&self) -> Target {
        Target { name: "docker-registry", address: self.port.addr().to_string(), pid: self.process.id() }
    }
}

/// Writes the files that a push of the content would leave.
fn store(root: &Path, content: &Content) {
    let data = |piece: &Piece| root.join("blobs/sha256").join(&piece.hex()[..2]).join(piece.hex()).join("data");
    let repository = root.join("repositories").join(REPOSITORY);
    let link = |place: String, piece: &Piece| {
        let dir = repository.join(place);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("link"), &piece.digest).unwrap();
    };
    for blob in [&content.large, &content.small] {
        blob.link_to(&data(blob));
        link(format!("_layers/sha256/{}", blob.hex()), blob);
    }
    let manifest = &content.manifest;
    manifest.link_to(&data(manifest));
    link(format!("_manifests/revisions/sha256/{}", manifest.hex()), manifest);
    link(format!("_manifests/tags/{TAG}/current"), manifest);
    link(format!("_manifests/tags/{TAG}/index/sha256/{}", manifest.hex()), manifest);
}

fn wait_for_port(address: &str) {
    wait_until(address, Duration::from_secs(20), || TcpStream::connect(address).is_ok());
}

/// Entrepot in front of `upstream`, with nothing cached.
pub(crate) fn mirror(upstream: &Target) -> Server {
    let setup = Setup::mirroring(&format!("http://{}", upstream.address)).freshness("1h");
    // The others log no requests either, and their log is kept in memory here.
    let setup = setup.variable("REGISTRY_LOG_ACCESSLOG_DISABLED", "true").variable("REGISTRY_LOG_LEVEL", "info");
    // All clients have one address.
    setup.variable("REGISTRY_HTTP_LIMITS_RATE", "0").start()
}

/// Entrepot in front of `upstream`, with all content cached, and nothing of the fill left in memory.
pub(crate) fn warm_mirror(upstream: &Target, content: &Content) -> Server {
    let mut server = mirror(upstream);
    let address = target(&server).address;
    for path in [manifest_path(TAG), content.small.blob_path(), content.large.blob_path()] {
        load::drain(&address, &path);
    }
    let (status, _) = server.stop();
    assert!(status.success(), "the server did not stop in order");
    server.restart();
    server
}

pub(crate) fn target(server: &Server) -> Target {
    let address = server.url().strip_prefix("http://").unwrap().to_owned();
    Target { name: "entrepot", address, pid: server.id() }
}

pub(crate) fn manifest_path(reference: &str) -> String {
    format!("/v2/{REPOSITORY}/manifests/{reference}")
}
