//! `pull` and `push` against a real registry.

use rbuild::image::Digest;
use serde_json::Value;

use crate::small_image;
use crate::support::{BaseImage, Image, Registry, TestEnv, require_busybox, require_tool};

#[test]
fn what_was_pushed_is_pulled_whole_and_runs_without_the_registry() {
    require_tool!("docker-registry");
    require_busybox!();
    let (env, registry) = (TestEnv::new(), Registry::start());
    env.busybox_image("base:1");
    let name = format!("{}/team/base:1", registry.address());
    env.rbuild(&["tag", "base:1", &name]).run().success();
    let pushed = env.rbuild(&["push", "-q", &name]).run().success();
    assert_eq!(pushed.stderr(), "", "{pushed}");
    let image = Image::fetch(&registry, "team/base:1").sound();
    assert_eq!(pushed.stdout(), format!("{}\n", image.manifest_digest));

    let other = TestEnv::new();
    let pulled = other.rbuild(&["pull", &name]).run().success().says(&["pulled"]);
    assert_eq!(pulled.stdout(), pushed.stdout());
    drop(registry);
    other.rbuild(&["run", "--rm", &name, "echo", "offline"]).run().success().prints("offline\n");
    let inspected = other.rbuild(&["inspect", &name]).run().success();
    let document: Value = serde_json::from_str(inspected.stdout()).unwrap();
    let place = format!("{}@{}", name.rsplit_once(':').unwrap().0, image.manifest_digest);
    assert_eq!(document[0]["RepoDigests"], serde_json::json!([place]));
    other.rbuild(&["inspect", &place]).run().success();
    other.rbuild(&["rmi", &name]).run().success();
    other.rbuild(&["inspect", &place]).run().code(3).says(&["no image"]);
}

#[test]
fn an_image_of_other_tools_is_handed_on_as_it_came() {
    for tool in ["docker-registry", "skopeo", "umoci"] {
        require_tool!(tool);
    }
    require_busybox!();
    let (env, registry) = (TestEnv::new(), Registry::start());
    let name = BaseImage::busybox().push_by_peers(&env, &registry);
    // Docker's media types, as most images have them.
    let docker = format!("{}/docker:1", registry.address());
    let flags = ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"];
    let names = [format!("docker://{name}"), format!("docker://{docker}")];
    let names = [&*names[0], &*names[1]];
    env.program("skopeo", &flags).arguments(&["--format", "v2s2"]).arguments(&names).run().success();
    let there = Image::fetch(&registry, "docker:1").sound();
    env.rbuild(&["pull", "-q", &docker]).run().success().prints(&format!("{}\n", there.manifest_digest));
    let copy = format!("{}/copy:1", registry.address());
    env.rbuild(&["tag", &docker, &copy]).run().success();
    env.rbuild(&["push", "-q", &copy]).run().success().prints(&format!("{}\n", there.manifest_digest));
    assert_eq!(Image::fetch(&registry, "copy:1").sound().manifest, there.manifest);
    let archive = env.path("docker.tar");
    env.rbuild(&["save", "-o", archive.to_str().unwrap(), &docker]).run().success();
    for form in ["docker-archive", "oci-archive"] {
        let from = format!("{form}:{}", archive.display());
        let layout = env.path(format!("from-{form}"));
        let to = format!("oci:{}:x", layout.display());
        env.program("skopeo", &["--insecure-policy", "copy", "-q", &from, &to]).run().success();
        assert_eq!(Image::open(&layout).listing(), there.listing(), "{form}");
    }
}

#[test]
fn a_second_pull_downloads_nothing_and_a_moved_name_moves_here() {
    require_tool!("docker-registry");
    let (publisher, env, registry) = (TestEnv::new(), TestEnv::new(), Registry::start());
    let name = format!("{}/app:1", registry.address());
    let publish = |content: &str| {
        let id = small_image(&publisher, content, &[&name]);
        publisher.rbuild(&["push", "-q", &name]).run().success();
        id
    };
    let pulled = || {
        env.rbuild(&["pull", "-q", &name]).run().success();
        env.rbuild(&["images", "-q", "--no-trunc", &name]).run().success().stdout().trim_end().to_owned()
    };
    let old = publish("old");
    assert_eq!(pulled(), old);
    let before = registry.requests().len();
    assert_eq!(pulled(), old);
    let asked = registry.requests()[before..].to_vec();
    let config = format!("/v2/app/blobs/{old}");
    assert!(
        asked.iter().all(|request| request.contains("/manifests/") || request.ends_with(&config)),
        "{asked:?}"
    );
    let new = publish("new");
    assert_eq!(pulled(), new);
}

#[test]
fn a_layer_that_is_not_what_the_image_says_is_not_pulled() {
    for tool in ["docker-registry", "skopeo"] {
        require_tool!(tool);
    }
    let (env, registry) = (TestEnv::new(), Registry::start());
    let tar = [0; 1024];
    let lie = crate::support::Layer::gzip(&tar).claiming(Digest::of(b"something else"));
    let name = crate::support::push_by_hand(&env, &registry, "lie", &[lie]);
    env.rbuild(&["pull", &name]).run().code(5).says(&["but its image says"]).prints("");
    env.rbuild(&["images", "-q"]).run().success().prints("");
    env.has_no_leftovers();
}

#[test]
fn all_tags_of_a_repository_are_pushed() {
    require_tool!("docker-registry");
    let (env, registry) = (TestEnv::new(), Registry::start());
    let repository = format!("{}/app", registry.address());
    small_image(&env, "a", &[&format!("{repository}:1"), &format!("{repository}:2"), "other:1"]);
    let pushed = env.rbuild(&["push", "--all-tags", "-q", &repository]).run().success();
    assert_eq!(pushed.stdout().lines().count(), 2, "{pushed}");
    for tag in ["app:1", "app:2"] {
        Image::fetch(&registry, tag).sound();
    }
    let tagged = format!("{repository}:1");
    env.rbuild(&["push", "--all-tags", &tagged]).run().code(2).says(&["without one"]);
}

#[test]
fn what_was_loaded_from_dockers_old_form_is_pushed_compressed() {
    for tool in ["docker-registry", "skopeo"] {
        require_tool!(tool);
    }
    let (env, registry) = (TestEnv::new(), Registry::start());
    small_image(&env, "a", &["app:1"]);
    let path = |name: &str| env.path(name).to_str().unwrap().to_owned();
    env.rbuild(&["save", "--format", "oci-dir", "-o", &path("layout"), "app:1"]).run().success();
    let (from, to) =
        (format!("oci:{}:1", path("layout")), format!("docker-archive:{}:old:1", path("old.tar")));
    env.program("skopeo", &["--insecure-policy", "copy", "-q", &from, &to]).run().success();
    let (name, store) = (format!("{}/old:1", registry.address()), path("other"));
    env.rbuild(&["--root", &store, "load", "-i", &path("old.tar")]).run().success();
    env.rbuild(&["--root", &store, "tag", "old:1", &name]).run().success();
    env.rbuild(&["--root", &store, "push", &name]).run().success();
    let image = Image::fetch(&registry, "old:1").sound();
    assert!(image.manifest.layers[0].media_type.ends_with("gzip"), "{:?}", image.manifest);
    assert_eq!(image.text("content"), "a");
}

#[test]
fn what_cannot_be_pulled_or_pushed_is_said() {
    require_tool!("docker-registry");
    let (env, registry) = (TestEnv::new(), Registry::start());
    let id = small_image(&env, "a", &["app:1"]);
    let missing = format!("{}/missing:1", registry.address());
    env.rbuild(&["pull", &missing]).run().code(5).says(&["missing"]);
    env.rbuild(&["push", &missing]).run().code(3).says(&["no image"]);
    env.rbuild(&["push", &id[7..19]]).run().code(2).says(&["is an id", "rbuild tag"]);
    env.rbuild(&["pull", "--platform", "toaster", "app:1"]).run().code(2).says(&["toaster"]);
    env.rbuild(&["push", "app:1"]).run().code(5);
    env.has_no_leftovers();
}
