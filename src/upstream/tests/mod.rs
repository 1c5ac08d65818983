//! Tests of the upstream client against scripted servers, correct and faulty.

mod blobs;
mod connections;
mod manifests;
mod redirects;
mod server;
mod tls;
mod tokens;

use std::time::Duration;

use rustls::RootCertStore;
use server::Server;

use super::{
    Account, ClientThreads, ConnectionSettings, Credentials, Error, Proxy, Remote, Timeouts, Trust, UpstreamOptions,
};
use crate::oci::{Digest, Reference, RepositoryName};

const BLOB: &[u8] = b"0123456789abcdefghij";

fn threads(count: usize) -> ClientThreads {
    ClientThreads::start(
        count,
        ConnectionSettings { trust: Trust::new(RootCertStore::empty()).unwrap(), proxy: Proxy::default() },
    )
    .unwrap()
}

fn options() -> UpstreamOptions {
    let timeouts = Timeouts {
        connect: Duration::from_millis(1000),
        head: Duration::from_millis(1500),
        stall: Duration::from_millis(400),
    };
    UpstreamOptions { timeouts, ..UpstreamOptions::default() }
}

fn with_credentials() -> UpstreamOptions {
    let credentials = Credentials { username: "me".into(), password: "hunter2".into() };
    UpstreamOptions { account: Account::Password(credentials), ..options() }
}

fn remote(server: &Server) -> Remote {
    remote_with(server, options())
}

fn remote_with(server: &Server, options: UpstreamOptions) -> Remote {
    Remote::new("r.example".parse().unwrap(), server.url("127.0.0.1").parse().unwrap(), options).unwrap()
}

fn name() -> RepositoryName {
    "library/thing".parse().unwrap()
}

fn latest() -> Reference {
    "latest".parse().unwrap()
}

/// A blob, or a part of it, as it was read: its start, its size, and its bytes up to the end or the error.
struct Read {
    start: u64,
    size: Option<u64>,
    bytes: Vec<u8>,
    end: Result<(), Error>,
}

async fn read(threads: &ClientThreads, remote: &Remote, from: u64, until: Option<u64>) -> Result<Read, Error> {
    let remote = remote.clone();
    threads
        .call(move |client| async move {
            let digest = Digest::sha256(BLOB);
            let mut blob = client.open_blob(&remote, &name(), &digest, from, until, None).await?;
            let mut read = Read { start: blob.start(), size: blob.size(), bytes: Vec::new(), end: Ok(()) };
            loop {
                match blob.next().await {
                    Ok(Some(bytes)) => read.bytes.extend_from_slice(&bytes),
                    Ok(None) => return Ok(read),
                    Err(error) => {
                        assert_eq!(blob.next().await, Err(error.clone()), "it fails again");
                        read.end = Err(error);
                        return Ok(read);
                    }
                }
            }
        })
        .await
}
