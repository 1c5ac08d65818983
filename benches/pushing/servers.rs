//! The two measured servers, each with a volume of its own and a log of errors only.

use std::{fs, net::TcpStream, time::Duration};

use tempfile::TempDir;

use crate::support::{
    ports::Port,
    process::{Process, command},
    scratch,
    server::{Server, Setup},
    wait_until,
};

/// A server to be measured.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// `127.0.0.1:PORT`
    pub(crate) address: String,
    pub(crate) pid: u32,
}

/// Entrepot as a registry only.
pub(crate) fn entrepot() -> Server {
    // At level `info` the log contains the address.
    let setup = Setup::hosting().variable("REGISTRY_LOG_ACCESSLOG_DISABLED", "true");
    setup.variable("REGISTRY_LOG_LEVEL", "info").start()
}

pub(crate) fn target(server: &Server) -> Target {
    let address = server.url().strip_prefix("http://").unwrap().to_owned();
    Target { name: "entrepot", address, pid: server.id() }
}

/// Debian's docker-registry. Killed on drop.
pub(crate) struct Distribution {
    process: Process,
    port: Port,
    _dir: TempDir,
}

impl Distribution {
    pub(crate) fn start() -> Self {
        let (dir, port) = (scratch::dir("distribution"), Port::reserve());
        let (config, root, address) = (dir.path().join("config.yml"), dir.path().join("data"), port.addr());
        let text = format!(
            "version: 0.1\nlog: {{ level: error, accesslog: {{ disabled: true }} }}\nhttp: {{ addr: \"{address}\" }}\n\
             storage: {{ filesystem: {{ rootdirectory: \"{}\" }}, cache: {{ blobdescriptor: inmemory }} }}\n",
            root.display(),
        );
        fs::write(&config, text).unwrap();
        let mut serve = command("docker-registry");
        serve.arg("serve").arg(config).env("OTEL_TRACES_EXPORTER", "none");
        let process = Process::start("docker-registry", serve);
        wait_until("docker-registry", Duration::from_secs(20), || TcpStream::connect(address).is_ok());
        Self { process, port, _dir: dir }
    }

    pub(crate) fn target(&self) -> Target {
        Target { name: "docker-registry", address: self.port.addr().to_string(), pid: self.process.id() }
    }
}
