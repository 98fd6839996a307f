//! Images whose layers are made to break out, or are not what they say.

use std::fs;

use rbuild::image::Digest;

use crate::support::{Image, Layer, Registry, TestEnv, push_by_hand, require_tool};

const UP: &str = "../../../../../../../../../../../..";

#[test]
fn nothing_leaves_the_directory_of_a_layer() {
    require_tool!("docker-registry");
    require_tool!("skopeo");
    let (env, registry) = (TestEnv::new(), Registry::start());
    let outside = env.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("victim"), "whole").unwrap();
    let target = outside.to_str().unwrap();
    let (up, victim) = (format!("{UP}{target}"), format!("{target}/victim"));
    let layers: [(&str, Vec<Entry>); 9] = [
        ("dots", vec![file(&format!("{up}/new"))]),
        ("dots-within", vec![file(&format!("a/{up}/new"))]),
        ("link", vec![link("x", target), file("x/new")]),
        ("link-up", vec![link("x", &up), file("x/new")]),
        ("link-to-parent", vec![link("a", target), file("a/b/new")]),
        ("hard-link", vec![Entry { kind: b'1', ..link("x", &victim) }, file("x")]),
        ("hard-link-up", vec![Entry { kind: b'1', ..link("x", &format!("{up}/victim")) }]),
        ("hard-link-through-link", vec![link("d", target), Entry { kind: b'1', ..link("x", "d/victim") }]),
        ("whiteout-up", vec![file(&format!("{up}/.wh.victim"))]),
    ];
    for (name, entries) in &layers {
        let image = push_by_hand(&env, &registry, name, &[Layer::gzip(&tar(entries))]);
        unpack(&env, &image, 5);
    }
    // Replacing a link with a file or a directory touches the link.
    let harmless: [(&str, Vec<Entry>); 4] = [
        ("absolute", vec![file(&format!("{target}/new"))]),
        ("replaced-link", vec![link("x", &victim), file("x")]),
        ("directory-for-link", vec![link("x", target), Entry { kind: b'5', ..file("x") }, file("x/new")]),
        ("marks", vec![file(".wh..."), file(".wh."), file(".wh..."), file(".wh..wh.plnk")]),
    ];
    for (name, entries) in &harmless {
        let image = push_by_hand(&env, &registry, name, &[Layer::gzip(&tar(entries))]);
        unpack(&env, &image, 0);
    }
    let left: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["victim"]);
    assert_eq!(fs::read_to_string(outside.join("victim")).unwrap(), "whole");
    env.has_no_leftovers();
}

#[test]
fn a_layer_that_is_not_what_it_says_is_refused() {
    require_tool!("docker-registry");
    require_tool!("skopeo");
    let (env, registry) = (TestEnv::new(), Registry::start());
    let whole = tar(&[file("a"), file("b")]);
    let other = Digest::of(b"another layer");
    let push = |name: &str, layer: Layer<'_>| push_by_hand(&env, &registry, name, &[layer]);
    unpack(&env, &push("other-diff-id", Layer::gzip(&whole).claiming(other)), 5);
    unpack(&env, &push("cut", Layer::gzip(&whole[..700])), 5);
    unpack(&env, &push("no-tar", Layer::gzip(&[b'x'; 4096])), 5);
    env.has_no_leftovers();
    assert_eq!(fs::read_dir(env.store().join("snapshots")).unwrap().count(), 0, "a refused layer was kept");
    let checked = env.rbuild(&["store", "check"]).run().success();
    assert!(checked.stdout().contains("the store is sound"), "{checked}");
}

#[test]
fn an_image_does_not_speak_for_the_layers_of_another() {
    require_tool!("docker-registry");
    require_tool!("skopeo");
    let (env, registry) = (TestEnv::new(), Registry::start());
    let layer = tar(&[file("true")]);
    let good = push_by_hand(&env, &registry, "good", &[Layer::gzip(&layer)]);
    // Claims to have the same layer, and has something else.
    let evil =
        push_by_hand(&env, &registry, "evil", &[Layer::gzip(&[b'x'; 4096]).claiming(Digest::of(&layer))]);
    let knows = |image: &str| {
        env.dockerfile(&format!("FROM {image}\nENV a=1\n"));
        let _ = env.rbuild(&["."]).run().success();
    };
    knows(&good);
    knows(&evil);
    let tag = format!("{}/mine:1", registry.address());
    // Nothing has looked into the layer yet, and the claims contradict each other.
    env.dockerfile(&format!("FROM {good}\nENV b=1\n"));
    env.rbuild(&["-t", &tag, "--push", "."]).run().success();
    let _ = Image::fetch(&registry, "mine:1").sound();
    unpack(&env, &good, 0);
}

/// Makes something look into the image's layers, and checks the exit code.
#[track_caller]
fn unpack(env: &TestEnv, image: &str, code: i32) {
    env.dockerfile(&format!("FROM {image}\nWORKDIR /new/directory\n"));
    let _ = env.rbuild(&["."]).run().code(code);
}

struct Entry {
    path: String,
    kind: u8,
    target: String,
}

fn file(path: &str) -> Entry {
    Entry { path: path.to_owned(), kind: b'0', target: String::new() }
}

fn link(path: &str, target: &str) -> Entry {
    Entry { path: path.to_owned(), kind: b'2', target: target.to_owned() }
}

/// Written by hand: what makes tars properly refuses to write these. Long names go in GNU's way.
fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut tar = Vec::new();
    for Entry { path, kind, target } in entries {
        for (kind, long) in [(b'L', path), (b'K', target)] {
            if long.len() > 100 {
                tar.extend(header("././@LongLink", kind, "", long.len() + 1));
                tar.extend(long.bytes());
                tar.resize((tar.len() + 1).next_multiple_of(512), 0);
            }
        }
        let short = |text: &str| text.bytes().take(100).map(char::from).collect::<String>();
        tar.extend(header(&short(path), *kind, &short(target), 0));
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn header(path: &str, kind: u8, target: &str, size: usize) -> [u8; 512] {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size as u64);
    header.set_cksum();
    *header.as_bytes()
}
