//! The page in a real browser: every view in light, dark and narrow, without an error on the console, a request to
//! another host, or a serious finding of axe-core.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    browser::{Browser, Scheme},
    images::{Blob, Format, Image},
    process,
    server::{Server, Setup},
    upstream::Upstream,
    wait_until,
};

/// The rules of accessibility, from PyPI, kept below `target/`.
static AXE: LazyLock<String> = LazyLock::new(|| {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/axe");
    let script = tools.join("axe_core_python/axe.min.js");
    if !script.exists() {
        let mut install = process::command("pip3");
        install.args(["install", "--quiet", "--no-deps", "--target"]).arg(&tools).arg("axe-core-python==0.1.0");
        process::run("pip3", install, Duration::from_secs(300)).expect_success("pip3 install axe-core-python");
    }
    fs::read_to_string(script).unwrap()
});

/// Views, with the name of their picture.
const VIEWS: [(&str, &str); 6] = [
    ("overview", "/ui"),
    ("month", "/ui?period=month"),
    ("repositories", "/ui/repositories"),
    ("repository", "/ui/repository?name=team%2Fapp"),
    ("image", "/ui/image?domain=docker.io&name=library%2Fbase&reference=1"),
    ("not-found", "/ui/repository?name=no%2Fsuch"),
];

/// A server with content of both kinds, an eviction, and names as long as they may be.
fn filled(upstream: &Upstream) -> Server {
    let server = Setup::both(&upstream.url()).quota("60MB").lease("0s").start();
    for tag in ["1.0", "1.1", "latest"] {
        server.target().image("team/app", tag, &Image::single(Format::Oci, 80));
    }
    let long = format!("team/{}", ["component-of-a-name"; 9].join("/"));
    server.target().image(&long, &"t".repeat(128), &Image::index(Format::Oci, 81, 5000));
    for seed in 0..7 {
        let blob = Blob::noise(seed, 9_000_000);
        upstream.add_blob("library/large", &blob);
        assert_eq!(server.blob("library/large", &blob.digest).send().summary().digest, blob.digest);
    }
    let image = Image::index(Format::Oci, 82, 5000);
    upstream.add("library/base", "1", &image);
    server.pull("library/base", "1", &image);
    server
}

/// The folder for pictures, which `ENTREPOT_SCREENSHOTS` names.
fn pictures() -> Option<PathBuf> {
    std::env::var_os("ENTREPOT_SCREENSHOTS").map(PathBuf::from)
}

#[test]
fn every_view_is_shown_without_an_error_or_a_foreign_request() {
    let upstream = Upstream::plain();
    let (server, browser) = (filled(&upstream), Browser::start());
    for (width, scheme) in [(1280, Scheme::Light), (1280, Scheme::Dark), (360, Scheme::Light), (360, Scheme::Dark)] {
        browser.show_as(width, scheme);
        for (name, path) in VIEWS {
            let what = format!("{name}, {width} wide, {scheme:?}");
            browser.open(&format!("{}{path}", server.url()));
            look(&browser, &server, &what, width);
            if let Some(folder) = pictures() {
                browser.screenshot(&folder.join(format!("{name}-{width}-{scheme:?}.png").to_lowercase()));
            }
        }
    }
}

fn look(browser: &Browser, server: &Server, what: &str, width: u32) {
    let console: Vec<_> = browser.console().into_iter().filter(|line| !line.contains("status of 404")).collect();
    assert!(console.is_empty(), "{what}: {console:?}");
    let loaded = browser.run("return performance.getEntriesByType('resource').map(each => each.name)");
    for url in loaded.as_array().unwrap() {
        assert!(url.as_str().unwrap().starts_with(server.url()), "{what} loads {url}");
    }
    assert!(!loaded.as_array().unwrap().is_empty(), "{what} has no style");
    let needed = browser.run("return document.documentElement.scrollWidth").as_u64().unwrap();
    assert!(needed <= u64::from(width), "{what} needs {needed}");
    let script = format!("{};const done = arguments[arguments.length - 1]; axe.run().then(done, done)", *AXE);
    let found = browser.run_async(&script);
    let is_serious = |finding: &&Value| matches!(finding["impact"].as_str(), Some("serious" | "critical"));
    let serious: Vec<_> =
        found["violations"].as_array().unwrap_or_else(|| panic!("{what}: {found}")).iter().filter(is_serious).collect();
    assert!(serious.is_empty(), "{what}: {serious:#?}");
}

#[test]
fn a_viewer_searches_sorts_and_follows_links() {
    let upstream = Upstream::plain();
    let (server, browser) = (filled(&upstream), Browser::start());
    let text = || browser.run("return document.querySelector('main').innerText").as_str().unwrap().to_owned();
    // The count may take a moment on a busy machine.
    wait_until("the repositories to be counted", Duration::from_secs(20), || {
        browser.open(&format!("{}/ui/repositories", server.url()));
        !text().contains("are being counted")
    });
    browser.open(server.url());
    browser.click("nav a[href$='/repositories']");
    browser.write("input[name=q]", "team/app");
    browser.click("form button");
    assert!(text().contains("1 repository") && text().contains("team/app"), "{}", text());
    browser.open(&format!("{}/ui/repositories", server.url()));
    browser.click("th a[href*='sort=size']");
    let first = browser.run("return document.querySelector('tbody th').innerText");
    assert_eq!(first, "docker.io/library/large");
    browser.click("tbody a");
    assert!(text().contains("It has no tags."), "{}", text());
    browser.open(&format!("{}/ui/repository?name=team%2Fapp", server.url()));
    browser.click("tbody a");
    assert!(text().contains("never: it was pushed here"), "{}", text());
}
