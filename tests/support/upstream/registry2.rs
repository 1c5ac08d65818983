//! Debian's docker-registry: as the real upstream, behind token authentication, or open, on a volume that both servers
//! use in turn.

use std::{path::Path, time::Duration};

use tempfile::TempDir;

use crate::support::{
    images::Image,
    ports::Port,
    process::{Process, command},
    scratch,
    token_service::{ISSUER, SERVICE, TokenService},
    uploads::Target,
};

pub(crate) struct Registry2 {
    process: Process,
    port: Port,
    pub(crate) tokens: TokenService,
    _dir: TempDir,
}

impl Registry2 {
    pub(crate) fn start() -> Self {
        let (dir, port) = (scratch::dir("registry2"), Port::reserve());
        let tokens = TokenService::start(dir.path());
        let config = dir.path().join("config.yml");
        std::fs::write(&config, configuration(&dir, &port, &tokens)).unwrap();
        Self { process: serve(&config), port, tokens, _dir: dir }
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        self.port.url()
    }

    pub(crate) fn push(&self, repository: &str, tag: &str, image: &Image) {
        Target::with_token(&self.url(), &self.tokens.push_token(repository)).image(repository, tag, image);
    }

    /// Its log: a line for each request.
    pub(crate) fn log(&self) -> String {
        self.process.output()
    }

    /// Ends it and its token service; the port refuses connections from then on.
    pub(crate) fn stop(&mut self) {
        self.process.kill();
        self.tokens.stop();
    }
}

fn serve(config: &Path) -> Process {
    let mut serve = command("docker-registry");
    serve.arg("serve").arg(config).env("OTEL_TRACES_EXPORTER", "none");
    let mut process = Process::start("docker-registry", serve);
    process.wait_for_line("listening on", Duration::from_secs(20));
    process
}

/// Without authentication, on a volume of the test's own. Killed on drop, which loses nothing: it has no state in
/// memory.
pub(crate) struct OnVolume {
    _process: Process,
    port: Port,
    _dir: TempDir,
}

impl OnVolume {
    pub(crate) fn start(volume: &Path) -> Self {
        Self::with(volume, "")
    }

    /// As a pull-through cache of this registry.
    pub(crate) fn caching(volume: &Path, remote: &str) -> Self {
        Self::with(volume, &format!("proxy: {{ remoteurl: \"{remote}\" }}\n"))
    }

    /// With more lines of configuration.
    pub(crate) fn with(volume: &Path, more: &str) -> Self {
        let (dir, port) = (scratch::dir("registry2"), Port::reserve());
        let (address, root) = (port.addr(), volume.display());
        let text = format!(
            "version: 0.1\nhttp: {{ addr: \"{address}\" }}\n\
             storage: {{ delete: {{ enabled: true }}, filesystem: {{ rootdirectory: \"{root}\" }} }}\n{more}"
        );
        std::fs::write(dir.path().join("config.yml"), text).unwrap();
        Self { _process: serve(&dir.path().join("config.yml")), port, _dir: dir }
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn authority(&self) -> String {
        self.port.addr().to_string()
    }

    pub(crate) fn target(&self) -> Target {
        Target::open(&self.port.url())
    }
}

fn configuration(dir: &TempDir, port: &Port, tokens: &TokenService) -> String {
    let (address, realm) = (port.addr(), tokens.realm());
    let (root, certificate) = (dir.path().join("data"), &tokens.certificate);
    format!(
        r#"version: 0.1
log: {{ level: info, accesslog: {{ disabled: true }} }}
storage: {{ filesystem: {{ rootdirectory: "{root}" }} }}
http: {{ addr: "{address}" }}
auth: {{ token: {{ realm: "{realm}", service: "{SERVICE}", issuer: "{ISSUER}", rootcertbundle: "{certificate}" }} }}
"#,
        root = root.display(),
        certificate = certificate.display(),
    )
}
