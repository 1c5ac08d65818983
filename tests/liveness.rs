//! Nobody stands in another's way: what takes long for one client, or for nobody in particular, keeps no other waiting.

use std::{fs, thread};

use crate::support::{
    images::Blob,
    server::{Server, Setup},
    upstream::Upstream,
};

const MIRRORED: &str = "library/big";

/// Bytes that a server has read so far, from files and sockets.
fn bytes_read(server: &Server) -> u64 {
    let counts = fs::read_to_string(format!("/proc/{}/io", server.id())).unwrap();
    counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// Mounts a mirrored blob into so many repositories at once.
fn mount_everywhere(server: &Server, blob: &Blob, repositories: usize) {
    thread::scope(|scope| {
        for number in 0..repositories {
            let target = server.target();
            scope.spawn(move || {
                let mounted = target.mount(&format!("team/app{number}"), &blob.digest, Some(MIRRORED));
                assert_eq!(mounted.status, 201, "into the repository {number}");
            });
        }
    });
}

/// A promotion reads the whole blob: all who wait for it share one.
#[test]
fn forty_mounts_of_one_mirrored_blob_hash_it_once() {
    let (upstream, blob) = (Upstream::plain(), Blob::noise(4040, 64 << 20));
    upstream.add_blob(MIRRORED, &blob);
    let server = Setup::both(&upstream.url()).start();
    assert_eq!(server.blob(MIRRORED, &blob.digest).send().summary().digest, blob.digest);
    let before = bytes_read(&server);
    mount_everywhere(&server, &blob, 40);
    let read = bytes_read(&server) - before;
    assert!(read < 2 * blob.len() as u64, "{read} bytes were read for a blob of {}", blob.len());
    for number in [0, 39] {
        assert_eq!(server.target().head(&format!("team/app{number}/blobs/{}", blob.digest)), 200);
    }
}
