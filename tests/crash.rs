//! After `kill -9` at any moment the volume is consistent: acknowledged pushes are there, acknowledged deletes are
//! gone.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::support::{
    admin,
    disk::{Disk, Kind, MIB},
    http::Response,
    image_set::ImageSet,
    images::{Format, Image},
    rng::Rng,
    rounds,
    server::{self, Server, Setup},
    uploads::{OCTETS, Target},
    upstream::Upstream,
    volume_check::VolumeCheck,
};

const PUSHERS: usize = 4;
const PULLERS: usize = 2;
const KIB: usize = 1 << 10;
/// In one round of ten, garbage is collected all the time, with this grace in milliseconds: a start counts as activity,
/// so that nothing is removed before it is over.
const COLLECTED: usize = 4;
const GRACE: u64 = 600;

/// The responses that one pushing client received. Each has a repository of its own.
#[derive(Default)]
struct Responses {
    tags: HashMap<String, Image>,
    /// The number of acknowledged requests.
    answers: usize,
    /// Images without a tag, which may be there or not.
    gone: HashSet<String>,
    /// A tag whose change was not acknowledged: it has its old or its new value.
    open: Option<(String, Option<Image>)>,
}

impl Responses {
    /// Tags an image, deletes a tag, or deletes a manifest with all its tags.
    fn act(&mut self, target: &Target, repository: &str, rng: &mut Rng) -> std::io::Result<()> {
        let tag = format!("t{}", rng.throw(5));
        match (rng.throw(4), self.tags.get(&tag).cloned()) {
            (0, Some(image)) => self.delete(target, repository, &tag, &tag, &image),
            (1, Some(image)) => self.delete(target, repository, &tag, image.digest(), &image),
            _ => self.push(target, repository, &tag, rng),
        }
    }

    fn push(&mut self, target: &Target, repository: &str, tag: &str, rng: &mut Rng) -> std::io::Result<()> {
        let size = 1 + rng.throw(60 * KIB);
        let image = Image::of_size(Format::Oci, (rng.throw(1 << 30) + 1_000_000) as u64, size);
        for blob in &image.blobs {
            let uploads = format!("{repository}/blobs/uploads/?digest={}", blob.digest);
            let post = target.request("POST", &uploads).body(OCTETS, &blob.bytes).try_send()?;
            if !is_taken(post) {
                return Ok(());
            }
        }
        self.open = Some((tag.to_owned(), Some(image.clone())));
        let put = target.request("PUT", &format!("{repository}/manifests/{tag}"));
        let put = put.body(&image.top.media_type, &image.top.bytes).try_send()?;
        self.open = None;
        if !is_taken(put) {
            return Ok(());
        }
        if let Some(before) = self.tags.insert(tag.to_owned(), image) {
            self.gone.insert(before.digest().to_owned());
        }
        Ok(())
    }

    fn delete(
        &mut self,
        target: &Target,
        repository: &str,
        tag: &str,
        reference: &str,
        image: &Image,
    ) -> std::io::Result<()> {
        self.open = Some((tag.to_owned(), None));
        let delete = target.request("DELETE", &format!("{repository}/manifests/{reference}")).try_send()?;
        assert_eq!(delete.status, 202);
        self.open = None;
        self.tags.remove(tag);
        self.gone.insert(image.digest().to_owned());
        Ok(())
    }

    /// The volume has all that was acknowledged. Records which value an open tag has.
    fn is_on(&mut self, checker: &mut VolumeCheck, repository: &str) {
        if let Some((tag, after)) = self.open.take() {
            let now = checker.tag(repository, &tag);
            let before = self.tags.get(&tag);
            if now.as_deref() != before.map(Image::digest) {
                assert_eq!(now.as_deref(), after.as_ref().map(Image::digest), "{repository}:{tag} is neither");
                match after {
                    Some(image) => self.tags.insert(tag, image),
                    None => self.tags.remove(&tag),
                };
            } else if after.is_none() && before.is_some_and(|image| !checker.has_manifest(repository, image.digest())) {
                panic!("{repository}:{tag} is there and its manifest is not");
            }
        }
        for (tag, image) in &self.tags {
            assert_eq!(checker.tag(repository, tag).as_deref(), Some(image.digest()), "{repository}:{tag}");
            assert!(checker.has_manifest(repository, image.digest()), "{repository}:{tag} is not whole");
        }
        for number in 0..5 {
            let tag = format!("t{number}");
            assert!(
                self.tags.contains_key(&tag) || checker.tag(repository, &tag).is_none(),
                "{repository}:{tag} is back"
            );
        }
    }
}

/// Returns whether a push was accepted. It may be refused if all evictable content is being read, or if a collection
/// with almost no grace has overtaken it.
fn is_taken(response: Response) -> bool {
    if response.status == 404 {
        assert_eq!(response.json()["errors"][0]["code"], "MANIFEST_BLOB_UNKNOWN");
        return false;
    }
    if response.status == 403 {
        let message = response.json()["errors"][0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("the quota is exceeded"), "{message}");
        return false;
    }
    assert_eq!(response.status, 201);
    true
}

/// Pulls as fast as possible until the server is gone; complete responses are right.
fn pull_until_the_end(target: &Target, stock: &ImageSet, rng: &mut Rng) -> std::io::Result<()> {
    loop {
        let (name, image) = &stock.images[rng.throw(stock.images.len())];
        let top = target.request("GET", &format!("{name}/manifests/latest")).header("Accept", server::ACCEPT);
        assert_eq!(top.try_send()?.status, 200, "{name}");
        for blob in &image.blobs {
            let got = target.request("GET", &format!("{name}/blobs/{}", blob.digest)).try_send()?;
            assert_eq!(got.status, 200, "{name}");
            let got = got.summary();
            assert!(got.length < blob.len() as u64 || got.digest == blob.digest, "{name}: whole and wrong");
            if got.length < blob.len() as u64 {
                return Ok(());
            }
        }
    }
}

/// Returns the number of collected blobs that were logged.
fn storm(server: &mut Server, stock: &ImageSet, responses: &mut [Responses], round: usize) -> u64 {
    let (target, alive) = (server.target(), AtomicBool::new(true));
    let (data, collects) = (server.data().to_owned(), round % 10 == COLLECTED);
    thread::scope(|scope| {
        for (pusher, responses) in responses.iter_mut().enumerate() {
            let (target, alive) = (&target, &alive);
            scope.spawn(move || {
                let mut rng = Rng::new((round * 100 + pusher) as u64);
                while responses.act(target, &format!("team/app{pusher}"), &mut rng).is_ok() {
                    responses.answers += 1;
                }
                assert!(!alive.load(Ordering::SeqCst), "a connection broke before the kill");
            });
        }
        for puller in 0..PULLERS {
            let (target, alive) = (&target, &alive);
            scope.spawn(move || {
                let mut rng = Rng::new((round * 100 + 50 + puller) as u64);
                let _ = pull_until_the_end(target, stock, &mut rng);
                assert!(!alive.load(Ordering::SeqCst), "a connection broke before the kill");
            });
        }
        let collector = scope.spawn(|| {
            let again = || (collects && alive.load(Ordering::SeqCst)).then(|| admin::try_gc(&data, GRACE));
            std::iter::from_fn(again).flatten().sum()
        });
        thread::sleep(Duration::from_millis(50 + (round as u64 * 7919) % 700 + if collects { 3 * GRACE } else { 0 }));
        alive.store(false, Ordering::SeqCst);
        server.kill9();
        collector.join().unwrap()
    })
}

/// Collects on the volume, and is killed in the middle of it every other time.
fn collect(server: &Server, round: usize) {
    let mut command = crate::support::process::command(server::BINARY);
    command.args(["garbage-collect", "--delete-untagged", "--data"]).arg(server.data());
    let mut process = crate::support::process::Process::start("entrepot garbage-collect", command);
    if round.is_multiple_of(2) {
        thread::sleep(Duration::from_millis((round as u64 * 31) % 60));
        process.kill();
    } else {
        process.wait_for_end(Duration::from_secs(60));
    }
}

/// In memory: a kill leaves the page cache, so that a real disk would show nothing more, and a slow one fewer moments.
/// Fills, pushes, deletes, evictions and collections, killed at random moments.
#[test]
fn kills_in_the_middle_of_everything() {
    let (disk, upstream, stock) = (Disk::new(Kind::Tmpfs, 192), Upstream::plain(), ImageSet::of(120));
    stock.at(&upstream);
    let setup = Setup::both(&upstream.url()).on(&disk).quota("64MiB").lease("0s");
    let mut server = setup.variable("REGISTRY_STORAGE_HEADROOM", "4MiB").start();
    let (watch, mut checker) = (disk.watch(), VolumeCheck::new(server.data()));
    let mut responses: Vec<_> = (0..PUSHERS).map(|_| Responses::default()).collect();
    let (mut seen, mut collected) = (HashSet::new(), 0);
    for round in 0..rounds(300) {
        collected += storm(&mut server, &stock, &mut responses, round);
        if round % 3 == 2 {
            collect(&server, round);
        }
        checker.is_whole();
        for (pusher, responses) in responses.iter_mut().enumerate() {
            responses.is_on(&mut checker, &format!("team/app{pusher}"));
        }
        server.restart();
        checker.has_no_leftovers();
        for (pusher, responses) in responses.iter().enumerate() {
            for (tag, image) in &responses.tags {
                server.pull(&format!("team/app{pusher}"), tag, image);
            }
        }
        seen.extend(stock.images.iter().flat_map(|(_, image)| &image.blobs).filter_map(|blob| {
            let here = checker.data(&blob.digest).exists();
            here.then(|| blob.digest.clone())
        }));
    }
    let kept = seen.iter().filter(|digest| checker.data(digest).exists()).count();
    let answers: usize = responses.iter().map(|responses| responses.answers).sum();
    assert!(answers > rounds(300) * 2, "{answers} answers are too few to show anything");
    assert!(responses.iter().any(|responses| !responses.gone.is_empty()), "nothing was ever deleted or moved");
    assert!(collected > 0, "no collection found anything");
    assert!(rounds(300) < 20 || kept < seen.len(), "nothing was ever evicted");
    let most = watch.most();
    assert!(most <= 64 * MIB, "{most} bytes were used of {}", 64 * MIB);
}
