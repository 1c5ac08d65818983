//! The page for browsers: what it shows to whom, and the headers that keep browsers safe.

use std::time::Duration;

use crate::support::{
    http::{self, Response},
    images::{Blob, Format, Image},
    server::{Server, Setup},
    upstream::Upstream,
    users::{Users, password},
    wait_for, wait_until,
};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn page(server: &Server, path: &str) -> http::Request {
    http::get(&format!("{}{path}", server.url())).header("Accept", BROWSER)
}

fn shown(response: Response) -> String {
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = response.header("content-security-policy").unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    response.text()
}

/// Returns the view of repositories, when they are counted: that may take a moment on a busy machine.
fn counted(ask: impl Fn() -> Response) -> String {
    wait_for("the repositories to be counted", Duration::from_secs(20), || {
        Some(shown(ask())).filter(|view| !view.contains("are being counted"))
    })
}

/// Probes get what registry:2 answers at the root; only a browser gets the page.
#[test]
fn the_root_is_a_page_for_browsers_alone() {
    let server = Setup::hosting().start();
    for accept in ["*/*", "application/json"] {
        let response = http::get(server.url()).header("Accept", accept).send();
        assert_eq!((response.status, response.header("content-type").map(ToOwned::to_owned)), (200, None));
        assert_eq!(response.text(), "");
    }
    let root = shown(page(&server, "/").send());
    assert!(root.contains("<h1>Overview</h1>"), "{root}");
    assert!(shown(page(&server, "/ui").send()).contains("<h1>Overview</h1>"), "the same view");
    let style = http::get(&format!("{}/ui/style.css", server.url())).send();
    assert_eq!(style.header("content-type"), Some("text/css; charset=utf-8"));
}

/// The overview has the figures of the metrics, and tells of evictions.
#[test]
fn the_overview_tells_what_is_stored_and_what_was_evicted() {
    let upstream = Upstream::plain();
    let mut server = Setup::both(&upstream.url()).quota("40MB").lease("0s").start();
    server.target().image("team/app", "1", &Image::single(Format::Oci, 7));
    for seed in 0..4 {
        let blob = Blob::noise(seed, 9_000_000);
        upstream.add_blob("library/base", &blob);
        assert_eq!(server.blob("library/base", &blob.digest).send().summary().digest, blob.digest);
    }
    let overview = shown(page(&server, "/").send());
    assert!(overview.contains("of 40.0 MB (storage.quota)"), "{overview}");
    assert!(overview.contains("evicted, to make room"), "{overview}");
    assert!(overview.contains("docker.io/library/base"), "{overview}");
    assert!(overview.contains(r#"<th scope="row">docker.io</th><td>reachable</td>"#), "{overview}");
    // Activity is recorded at the end, too, and outlives a restart.
    server.stop();
    server.restart();
    wait_until("the charts to have the pulls", Duration::from_secs(20), || {
        shown(page(&server, "/?period=hour").send()).contains("0 % of 4 requests answered from the cache")
    });
}

/// A user sees what it may pull; totals and upstreams are for those who may pull everything.
#[test]
fn the_page_shows_what_its_user_may_pull() {
    let upstream = Upstream::plain();
    let users = Users::named(&["ann", "root"]);
    let rules =
        "access: [{who: ann, may: [pull], where: 'team/*'}, {who: root, may: [pull, push, delete], where: '**'}]";
    let server = users.with(Setup::both(&upstream.url()).quota("40MB").lease("0s"), rules).start();
    let response = page(&server, "/").send();
    assert_eq!((response.status, response.header("www-authenticate")), (401, Some(r#"Basic realm="entrepot""#)));
    assert_eq!(http::get(server.url()).send().status, 200, "probes need no user");
    let target = |name: &str| server.target().as_user(name, &password(name));
    for seed in 0..4 {
        let blob = Blob::noise(seed, 9_000_000);
        upstream.add_blob("library/base", &blob);
        let path = format!("library/base/blobs/{}", blob.digest);
        assert_eq!(target("root").request("GET", &path).send().summary().digest, blob.digest);
    }
    let seen = |name: &str| shown(page(&server, "/").header("Authorization", target(name).authorization()).send());
    let (all, part) = (seen("root"), seen("ann"));
    assert!(all.contains("docker.io/library/base") && all.contains("(storage.quota)") && all.contains(">root<"));
    assert!(!part.contains("library/base") && !part.contains("storage.quota") && part.contains(">ann<"), "{part}");
}

/// The mirror listener is open to all who reach it, and has no page.
#[test]
fn the_mirror_listener_has_no_page() {
    let upstream = Upstream::plain();
    let server = Setup::both(&upstream.url()).variable("REGISTRY_HTTP_MIRROR_ADDR", "127.0.0.1:0").start();
    let response = http::get(&server.mirror_url()).header("Accept", BROWSER).send();
    assert_eq!((response.status, response.text().as_str()), (200, ""));
    let response = http::get(&format!("{}/ui", server.mirror_url())).header("Accept", BROWSER).send();
    assert_eq!(response.status, 404);
}

/// Pushes an image whose configuration and annotations are full of markup.
fn push_markup(server: &Server) {
    let (config, layer) = (
        Blob::new(
            r#"{"os":"linux","config":{"Labels":{"<b>label</b>":"<script>alert(1)</script>"}},"history":[{"created_by":"RUN <img src=x>"}]}"#,
        ),
        Blob::noise(3, 4000),
    );
    let target = server.target();
    target.blob("team/app", &config);
    target.blob("team/app", &layer);
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","annotations":{{"k":"\"><script>"}},
        "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},
        "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}]}}"#,
        config.digest,
        config.bytes.len(),
        layer.digest,
        layer.bytes.len()
    );
    let put = target.request("PUT", "team/app/manifests/v1.0_x");
    let response = put.body("application/vnd.oci.image.manifest.v1+json", manifest.as_bytes()).send();
    assert_eq!(response.status, 201);
}

#[test]
fn repositories_lead_to_tags_and_tags_to_images() {
    let upstream = Upstream::plain();
    let image = Image::single(Format::Oci, 70);
    upstream.add("library/base", "1", &image);
    let server = Setup::both(&upstream.url()).start();
    server.pull("library/base", "1", &image);
    push_markup(&server);
    let repositories = counted(|| page(&server, "/ui/repositories?sort=size").send());
    assert!(repositories.contains("2 repositories"), "{repositories}");
    for link in ["/ui/repository?domain=docker.io&amp;name=library%2Fbase", "/ui/repository?name=team%2Fapp"] {
        assert!(repositories.contains(&link.replace("&amp;", "&#38;")), "{link} in {repositories}");
    }
    let hosted = counted(|| page(&server, "/ui/repositories?class=hosted&q=APP").send());
    assert!(hosted.contains("team/app") && !hosted.contains("library/base"), "{hosted}");
    let tags = shown(page(&server, "/ui/repository?name=team%2Fapp").send());
    assert!(tags.contains("reference=v1.0_x") && tags.contains("complete"), "{tags}");
    let shown_image = shown(page(&server, "/ui/image?name=team%2Fapp&reference=v1.0_x").send());
    assert!(!shown_image.contains("<script") && !shown_image.contains("<b>") && !shown_image.contains("<img"));
    for text in
        ["&#60;script&#62;alert(1)", "RUN &#60;img src=x&#62;", "never: it was pushed here", "docker pull 127.0.0.1"]
    {
        assert!(shown_image.contains(text), "{text} in {shown_image}");
    }
    let mirrored = shown(page(&server, "/ui/image?domain=docker.io&name=library%2Fbase&reference=1").send());
    assert!(mirrored.contains(&image.layer().digest) && mirrored.contains("complete"), "{mirrored}");
    for path in
        ["repository?name=no%2Fsuch", "repository", "image?name=team%2Fapp&reference=2", "image?name=..&reference=1"]
    {
        let response = page(&server, &format!("/ui/{path}")).send();
        assert_eq!(response.status, 404, "{path}");
        assert!(response.text().contains("<h1>Not found</h1>"));
    }
}

#[test]
fn a_stranger_sees_what_may_be_pulled_and_nothing_else() {
    let users = Users::named(&["ann", "root"]);
    let rules =
        "access: [{who: ann, may: [pull], where: 'team/app'}, {who: root, may: [pull, push, delete], where: '**'}]";
    let server = users.with(Setup::hosting(), rules).start();
    let target = |name: &str| server.target().as_user(name, &password(name));
    let image = Image::single(Format::Oci, 71);
    for repository in ["team/app", "secret/app"] {
        target("root").image(repository, "1", &image);
    }
    let ask = |path: &str| page(&server, path).header("Authorization", target("ann").authorization()).send();
    let repositories = counted(|| ask("/ui/repositories"));
    assert!(repositories.contains("1 repository") && repositories.contains("team/app"), "{repositories}");
    let seen = shown(ask("/ui/image?name=team%2Fapp&reference=1"));
    assert!(seen.contains(&image.layer().digest) && !seen.contains("secret"), "{seen}");
    for path in ["/ui/repository?name=secret%2Fapp", "/ui/image?name=secret%2Fapp&reference=1"] {
        assert_eq!(ask(path).status, 404, "{path}");
    }
    for path in ["/ui", "/ui/repositories", "/ui/image?name=team%2Fapp&reference=1"] {
        assert_eq!(page(&server, path).send().status, 401, "{path}");
    }
}
