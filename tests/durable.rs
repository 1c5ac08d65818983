//! Acknowledged content survives any crash, and an upload continues at its offset.

mod uploads;

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::support::{
    hash::hex,
    http::{Request, Sending},
    images::{Blob, Format, Image},
    rounds, scratch,
    server::{Server, Setup},
    uploads::{OCTETS, Target},
    upstream::Upstream,
    volume_check::VolumeCheck,
    wait_for,
};

/// The responses that a worker received, and its open request at the moment of the crash.
#[derive(Default)]
struct Responses {
    blobs: Vec<String>,
    tags: HashMap<String, String>,
    /// A tag's PUT without a response: it may have happened or not.
    open: Option<(String, String)>,
}

/// Pushes images to one repository until the server is gone: the blobs by different methods, each tag again and again.
fn push_until_the_end(target: &Target, repository: &str, round: usize, responses: &mut Responses, alive: &AtomicBool) {
    let mut number = 0;
    while push_one(target, repository, round, number, responses).is_ok() {
        number += 1;
    }
    assert!(!alive.load(Ordering::SeqCst), "a connection broke before the kill");
}

fn push_one(
    target: &Target,
    repository: &str,
    round: usize,
    number: usize,
    responses: &mut Responses,
) -> std::io::Result<()> {
    let seed = (round * 1000 + number) as u64;
    // Repositories share the layer and differ in the configuration, so that they race for the same bytes.
    let image = Image::of_size(Format::Oci, seed, 2_000 + (number * 7919) % 150_000);
    for (way, blob) in image.blobs.iter().enumerate() {
        push_blob(target, repository, blob, way + number)?;
        responses.blobs.push(blob.digest.clone());
    }
    let tag = format!("t{}", number % 4);
    responses.open = Some((tag.clone(), image.digest().to_owned()));
    let put = target.request("PUT", &format!("{repository}/manifests/{tag}"));
    let put = put.body(&image.top.media_type, &image.top.bytes).try_send()?;
    assert_eq!(put.status, 201, "a manifest all of whose blobs were acknowledged");
    responses.tags.insert(tag, image.digest().to_owned());
    responses.open = None;
    Ok(())
}

fn push_blob(target: &Target, repository: &str, blob: &Blob, way: usize) -> std::io::Result<()> {
    let uploads = format!("{repository}/blobs/uploads/");
    if way.is_multiple_of(3) {
        let post = target.request("POST", &format!("{uploads}?digest={}", blob.digest)).body(OCTETS, &blob.bytes);
        assert_eq!(post.try_send()?.status, 201);
        return Ok(());
    }
    let begun = target.request("POST", &uploads).try_send()?;
    assert_eq!(begun.status, 202);
    let (mut url, half) = (target.follow(&begun), blob.len() / 2);
    let rest = if way % 3 == 1 {
        &blob.bytes[..]
    } else {
        let patch = Request::new("PATCH", &url).body(OCTETS, &blob.bytes[..half]).try_send()?;
        assert_eq!(patch.status, 202);
        url = target.follow(&patch);
        &blob.bytes[half..]
    };
    let mut closing = url::Url::parse(&url).unwrap();
    closing.query_pairs_mut().append_pair("digest", &blob.digest);
    assert_eq!(Request::new("PUT", closing.as_str()).body(OCTETS, rest).try_send()?.status, 201);
    Ok(())
}

/// Acknowledged content is on the disk; an open tag has its old or its new value.
fn holds_what_was_acknowledged(checker: &mut VolumeCheck, repository: &str, responses: &mut Responses) {
    for digest in responses.blobs.drain(..) {
        assert!(checker.has_layer(repository, &digest), "an acknowledged blob is gone from {repository}");
    }
    if let Some((tag, digest)) = responses.open.take()
        && checker.tag(repository, &tag).as_ref() == Some(&digest)
    {
        responses.tags.insert(tag, digest);
    }
    for (tag, digest) in &responses.tags {
        assert_eq!(checker.tag(repository, tag).as_ref(), Some(digest), "{repository}:{tag}");
        assert!(checker.has_manifest(repository, digest), "{repository}:{tag}");
    }
}

/// Rounds of `kill -9` at random moments under parallel pushes.
#[test]
fn what_was_acknowledged_survives_a_kill() {
    const WORKERS: usize = 4;
    let mut server = Setup::hosting().start();
    let mut checker = VolumeCheck::new(server.data());
    let mut responses: Vec<_> = (0..WORKERS).map(|_| Responses::default()).collect();
    let (mut restarts, mut acknowledged) = (Vec::new(), 0);
    for round in 0..rounds(200) {
        let (target, alive) = (server.target(), AtomicBool::new(true));
        thread::scope(|scope| {
            for (worker, responses) in responses.iter_mut().enumerate() {
                let (target, alive) = (&target, &alive);
                scope.spawn(move || push_until_the_end(target, &format!("team/app{worker}"), round, responses, alive));
            }
            thread::sleep(Duration::from_millis(20 + (round as u64 * 7919) % 400));
            alive.store(false, Ordering::SeqCst);
            server.kill9();
        });
        for (worker, responses) in responses.iter_mut().enumerate() {
            acknowledged += responses.blobs.len();
            holds_what_was_acknowledged(&mut checker, &format!("team/app{worker}"), responses);
        }
        checker.is_whole();
        restarts.push(server.restart());
        serves(&server, &responses);
    }
    assert!(acknowledged > rounds(200) * WORKERS, "{acknowledged} blobs are too few to show anything");
    restarts.sort_unstable();
    let median = restarts[restarts.len() / 2];
    assert!(median < Duration::from_secs(1), "restarts: {restarts:?}");
}

/// Every acknowledged tag is served, with its manifest's blobs.
fn serves(server: &Server, responses: &[Responses]) {
    for (worker, responses) in responses.iter().enumerate() {
        let repository = format!("team/app{worker}");
        for (tag, digest) in &responses.tags {
            let manifest = server.manifest(&repository, tag).send();
            assert_eq!((manifest.status, manifest.header("docker-content-digest")), (200, Some(&**digest)));
            let manifest = manifest.json();
            let layer = manifest["layers"][0]["digest"].as_str().unwrap();
            assert_eq!(server.blob(&repository, layer).send().summary().digest, layer);
        }
    }
}

/// A system call of the trace, from the line of its start to the line of its return.
struct Call {
    begun: usize,
    ended: usize,
    text: String,
}

impl Call {
    fn is(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.text.strip_prefix(name).is_some_and(|rest| rest.starts_with('(')))
    }

    /// The last path among its arguments.
    fn path(&self) -> &str {
        let path = self.text.rsplit(['"', '<']).find(|part| part.starts_with('/')).unwrap_or_default();
        path.split(['"', '>']).next().unwrap()
    }

    fn succeeded(&self) -> bool {
        self.text.rsplit("= ").next().is_some_and(|result| !result.starts_with('-'))
    }
}

/// Reads the output of `strace -f -y`; interrupted calls are joined.
fn calls(trace: &str) -> Vec<Call> {
    let (mut calls, mut open) = (Vec::new(), HashMap::<&str, (usize, String)>::new());
    for (number, line) in trace.lines().enumerate() {
        let Some((process, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some(begun) = text.strip_suffix("<unfinished ...>") {
            open.insert(process, (number, begun.to_owned()));
        } else if let Some(rest) = text.strip_prefix("<... ") {
            let (_, rest) = rest.split_once("resumed>").unwrap();
            let Some((begun, first)) = open.remove(process) else { continue };
            calls.push(Call { begun, ended: number, text: first + rest });
        } else {
            calls.push(Call { begun: number, ended: number, text: text.to_owned() });
        }
    }
    calls
}

/// The trace of a server that has ended.
fn traced(file: &Path) -> Vec<Call> {
    let read = || fs::read_to_string(file).ok().filter(|trace| trace.contains("+++ exited with"));
    calls(&wait_for("the trace's end", Duration::from_secs(10), read))
}

/// Between these lines of the trace `path` was synced, or its whole file system was.
fn synced(calls: &[Call], path: &Path, after: usize, before: usize) -> bool {
    let named = |call: &&Call| {
        call.is(&["fsync", "fdatasync"]) && Path::new(call.path()) == path || call.is(&["syncfs", "sync"])
    };
    calls.iter().filter(named).any(|call| call.succeeded() && call.begun > after && call.ended < before)
}

/// The path with this suffix was published before line `answered`: the file was synced, then renamed, then its folder
/// was synced, and the entry of every folder that was created for it. Returns the line.
fn is_published(calls: &[Call], suffix: &str, answered: usize) -> usize {
    let renames = ["rename", "renameat", "renameat2", "link", "linkat"];
    let published = |call: &&Call| call.is(&renames) && call.succeeded() && call.path().ends_with(suffix);
    let call = calls.iter().rfind(published).unwrap_or_else(|| panic!("nothing was renamed to …{suffix}"));
    assert!(call.ended < answered, "…{suffix} was published after the answer");
    let staged = call.text.split('"').nth(1).unwrap();
    assert!(synced(calls, Path::new(staged), 0, call.begun), "{staged} was not synced before it became …{suffix}");
    let folder = Path::new(call.path()).parent().unwrap();
    assert!(synced(calls, folder, call.ended, answered), "{folder:?} was not synced after …{suffix} came into it");
    for made in calls.iter().filter(|made| made.is(&["mkdir", "mkdirat"]) && made.succeeded() && made.ended < answered)
    {
        let parent = Path::new(made.path()).parent().unwrap();
        let holds = folder.starts_with(made.path());
        assert!(
            !holds || synced(calls, parent, made.ended, answered),
            "{} was made, {parent:?} not synced",
            made.path()
        );
    }
    call.ended
}

/// The line at which a response with this status began to be sent, after line `after`.
fn answered(calls: &[Call], status: u16, after: usize) -> usize {
    let head = format!("\"HTTP/1.1 {status}");
    let send = |call: &&Call| call.is(&["write", "writev", "sendto", "sendmsg"]) && call.text.contains(&head);
    let call = calls.iter().filter(send).find(|call| call.begun > after);
    call.unwrap_or_else(|| panic!("no {status} after line {after}")).begun
}

/// The folders of a pushed blob and of its link are made before the first sync after line `after`, which then writes
/// their names together with the bytes: each later commit of a journal is one more wait for the disk.
fn folders_are_made_first(calls: &[Call], hex: &str, after: usize) {
    let of_session = |call: &&Call| call.is(&["fsync"]) && call.path().contains("/_uploads/") && call.begun > after;
    let first_sync = calls.iter().find(of_session).expect("a sync of the session's bytes").begun;
    for folder in [format!("/{}/{hex}", &hex[..2]), format!("/_layers/sha256/{hex}")] {
        let made = |call: &&Call| call.is(&["mkdir", "mkdirat"]) && call.path().ends_with(&folder);
        let made = calls.iter().find(made).expect("a folder").ended;
        assert!(made < first_sync, "…{folder} is made after the first sync");
    }
}

/// The order of system calls, which a kill cannot show because it leaves the page cache: the file is synced, renamed,
/// and its folder synced, before the 201 is written; for blobs, layer links, revisions and tags.
#[test]
fn a_201_is_written_after_the_syncs() {
    let dir = scratch::dir("trace");
    let file = dir.path().join("calls");
    let mut server = Setup::hosting().traced(&file).start();
    let (target, image) = (server.target(), Image::single(Format::Oci, 500));
    target.image("team/durable", "tag", &image);
    assert_eq!(target.delete("team/durable/manifests/tag"), 202);
    server.stop();
    let calls = traced(&file);
    let mut after = 0;
    for blob in &image.blobs {
        let answer = answered(&calls, 201, after);
        let (bytes, link) =
            (format!("/{}/data", hex(&blob.digest)), format!("/_layers/sha256/{}/link", hex(&blob.digest)));
        let published = is_published(&calls, &bytes, answer);
        assert!(published < is_published(&calls, &link, answer), "the bytes first, then the link");
        folders_are_made_first(&calls, hex(&blob.digest), after);
        after = answer;
    }
    let answer = answered(&calls, 201, after);
    let digest = hex(image.digest());
    let bytes = is_published(&calls, &format!("/{digest}/data"), answer);
    let revision = is_published(&calls, &format!("/_manifests/revisions/sha256/{digest}/link"), answer);
    let tag = is_published(&calls, "/_manifests/tags/tag/current/link", answer);
    assert!(bytes < revision && revision < tag, "the bytes, the revision, the tag");
    let tags = server.data().join("docker/registry/v2/repositories/team/durable/_manifests/tags");
    assert!(synced(&calls, &tags, answer, answered(&calls, 202, answer)), "a DELETE is durable too");
}

/// A push does not rely on folders that a mirrored blob left unsynced: they are synced for the first push that needs
/// them.
#[test]
fn a_push_does_not_stand_on_an_unsynced_folder() {
    let (dir, mut seed) = (scratch::dir("trace"), 0);
    let file = dir.path().join("calls");
    let mirrored = Blob::noise(600, 5000);
    let pushed = loop {
        let blob = Blob::new(format!("pushed {seed}"));
        if blob.digest[..9] == mirrored.digest[..9] {
            break blob;
        }
        seed += 1;
    };
    let upstream = Upstream::plain();
    upstream.add_blob("library/base", &mirrored);
    let mut server = Setup::both(&upstream.url()).traced(&file).start();
    assert_eq!(server.blob("library/base", &mirrored.digest).send().summary().digest, mirrored.digest);
    server.target().blob("team/durable", &pushed);
    assert_eq!(server.target().mount("team/durable", &mirrored.digest, Some("library/base")).status, 201);
    let data = VolumeCheck::new(server.data()).data(&mirrored.digest);
    server.stop();
    let calls = traced(&file);
    let answer = answered(&calls, 201, 0);
    is_published(&calls, &format!("/{}/data", hex(&pushed.digest)), answer);
    is_published(&calls, &format!("/_layers/sha256/{}/link", hex(&pushed.digest)), answer);
    let promoted = answered(&calls, 201, answer);
    assert!(synced(&calls, &data, answer, promoted), "the mirrored bytes, now that they are ours");
    assert!(synced(&calls, data.parent().unwrap(), answer, promoted), "their name");
    assert!(synced(&calls, data.ancestors().nth(2).unwrap(), answer, promoted), "their folder's name");
    is_published(&calls, &format!("/_layers/sha256/{}/link", hex(&mirrored.digest)), promoted);
}

/// The bytes of the large upload from one offset to another, in pieces of 1 MiB.
fn content(from: u64, to: u64, mut take: impl FnMut(&[u8])) {
    const PIECE: u64 = 1 << 20;
    let noise = Blob::noise(6, 1 << 20);
    let mut at = from;
    while at < to {
        let mut piece = noise.bytes.to_vec();
        piece[..8].copy_from_slice(&(at / PIECE).to_le_bytes());
        let (start, end) = (at % PIECE, (to - at / PIECE * PIECE).min(PIECE));
        take(&piece[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()]);
        at = at / PIECE * PIECE + end;
    }
}

fn send(sending: &mut Sending, from: u64, to: u64) {
    content(from, to, |piece| sending.write(piece).unwrap());
}
