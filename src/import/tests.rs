//! Archives of every form, and archives that lie.

use std::io::Write as _;

use super::*;
use crate::store::Tag;

struct World {
    _directory: tempfile::TempDir,
    store: Store,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::ensure(&directory.path().join("store")).unwrap();
        Self { _directory: directory, store }
    }

    fn load(&self, archive: &[u8]) -> Result<Vec<Loaded>, ImportError> {
        load_archive(&self.store, archive, &Platform::host())
    }

    /// Asserts that an archive is refused with a word, and that nothing of it stays.
    #[track_caller]
    fn refuses(&self, archive: &[u8], word: &str) {
        let error = self.load(archive).expect_err(word).to_string();
        assert!(error.contains(word), "{error:?} lacks {word:?}");
        for directory in ["blobs/sha256", "records/images", "records/layers", "records/tags"] {
            let left = std::fs::read_dir(self.store.root().join(directory)).map_or(0, Iterator::count);
            assert_eq!(left, 0, "{word}: something is left in {directory}");
        }
        let sessions = std::fs::read_dir(self.store.root().join("tmp")).unwrap();
        let files = sessions.flat_map(|session| std::fs::read_dir(session.unwrap().path()).unwrap());
        assert_eq!(files.count(), 0, "{word}: something is left in tmp");
    }
}

/// An archive of files and links, in this order.
#[derive(Default)]
struct Archive(Vec<(String, Option<String>, Vec<u8>)>);

impl Archive {
    fn file(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.0.push((path.to_owned(), None, content.as_ref().to_vec()));
        self
    }

    fn link(mut self, path: &str, target: &str) -> Self {
        self.0.push((path.to_owned(), Some(target.to_owned()), Vec::new()));
        self
    }

    /// A blob of a layout.
    fn blob(self, content: &[u8]) -> Self {
        self.file(&format!("blobs/sha256/{}", Digest::of(content).hex()), content)
    }

    fn tar(&self) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, link, content) in &self.0 {
            let mut header = tar::Header::new_gnu();
            // Written as it is: the builder itself refuses paths that lead out.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            if let Some(target) = link {
                header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
                header.set_entry_type(tar::EntryType::Symlink);
            }
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append(&header, &content[..]).unwrap();
        }
        builder.into_inner().unwrap()
    }
}

fn layer(text: &str) -> Vec<u8> {
    Archive::default().file("file", text).tar()
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let mut config = Config::scratch(&Platform::host());
    config.rootfs.diff_ids = layers.iter().map(|layer| DiffId(Digest::of(layer))).collect();
    config.to_bytes()
}

/// As docker wrote it before version 25: a directory for each layer, one of them a link to another's.
fn old_form(config: &[u8], layers: &[&[u8]], names: &str) -> Archive {
    let mut archive = Archive::default().file("config.json", config);
    for (index, layer) in layers.iter().enumerate() {
        archive = archive.file(&format!("{index}/VERSION"), "1.0").file(&format!("{index}/layer.tar"), layer);
    }
    let paths: Vec<String> = (0..layers.len()).map(|index| format!("\"{index}/layer.tar\"")).collect();
    let manifest =
        format!(r#"[{{"Config":"config.json","RepoTags":{names},"Layers":[{}]}}]"#, paths.join(","));
    archive.file("manifest.json", manifest)
}

/// A layout of one image; `index` has the name of the manifest in it.
fn layout(config: &[u8], layers: &[&[u8]], annotations: &str) -> Archive {
    let describe = |kind: &str, bytes: &[u8]| {
        let kind = format!("application/vnd.oci.image.{kind}");
        format!(r#""mediaType":"{kind}","digest":"{}","size":{}"#, Digest::of(bytes), bytes.len())
    };
    let listed: Vec<String> =
        layers.iter().map(|layer| format!("{{{}}}", describe("layer.v1.tar", layer))).collect();
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{{}}},"layers":[{}]}}"#,
        describe("config.v1+json", config),
        listed.join(",")
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{{},"annotations":{{{annotations}}}}}]}}"#,
        describe("manifest.v1+json", manifest.as_bytes())
    );
    let archive = Archive::default().file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    let archive = archive.file("index.json", index).blob(manifest.as_bytes()).blob(config);
    layers.iter().fold(archive, |archive, layer| archive.blob(layer))
}

#[test]
fn dockers_old_form_is_read_with_its_links() {
    let world = World::new();
    let (one, two) = (layer("one"), layer("two"));
    let config = config(&[&one, &two, &one]);
    let archive = old_form(&config, &[&one, &two], "null").file("2/VERSION", "1.0");
    let mut archive = archive.link("2/layer.tar", "../0/layer.tar");
    archive = archive.file(
        "manifest.json",
        r#"[{"Config":"config.json","RepoTags":["app:1","reg.io/app"],"Layers":["0/layer.tar","1/layer.tar","2/layer.tar"]}]"#,
    );
    let loaded = world.load(&archive.tar()).unwrap();
    let names: Vec<String> = loaded[0].names.iter().map(Reference::familiar).collect();
    assert_eq!(names, ["app:1", "reg.io/app:latest"]);
    assert_eq!(loaded[0].id.0, Digest::of(&config));
    assert_eq!(world.store.tag(&"app:1".parse().unwrap()).unwrap(), Some(loaded[0].id));
    let record = world.store.record::<LayerRecord>(&Digest::of(&two).hex()).unwrap().unwrap();
    assert_eq!(record.size, Some(two.len() as u64));
    assert_eq!(record.verified().count(), 1, "what was checked is proved");
    // What no image needs is not kept.
    assert!(world.store.blobs().size(&Digest::of(b"1.0")).unwrap().is_none());
}

#[test]
fn a_layout_keeps_its_manifest_and_is_named_by_annotations() {
    let one = layer("one");
    let config = config(&[&one]);
    let full = r#""io.containerd.image.name":"reg.io/app:2","org.opencontainers.image.ref.name":"2""#;
    for (annotations, expected) in [
        (full, vec!["reg.io/app:2"]),
        (r#""org.opencontainers.image.ref.name":"app:3""#, vec!["app:3"]),
        (r#""org.opencontainers.image.ref.name":"latest""#, vec![]),
    ] {
        let world = World::new();
        let loaded = world.load(&layout(&config, &[&one], annotations).tar()).unwrap();
        let names: Vec<String> = loaded[0].names.iter().map(Reference::familiar).collect();
        assert_eq!(names, expected);
        let record = world.store.record::<ImageRecord>(&loaded[0].id.0.hex()).unwrap().unwrap();
        let manifest = record.manifest.unwrap().digest;
        assert!(world.store.blobs().size(&manifest).unwrap().is_some());
    }
}

#[test]
fn dockers_document_names_the_images_of_a_layout() {
    let world = World::new();
    let one = layer("one");
    let config = config(&[&one]);
    let path = format!("blobs/sha256/{}", Digest::of(&config).hex());
    let layers = format!("blobs/sha256/{}", Digest::of(&one).hex());
    let document = format!(r#"[{{"Config":"{path}","RepoTags":["app:1"],"Layers":["{layers}"]}}]"#);
    let archive = layout(&config, &[&one], "").file("manifest.json", document);
    assert_eq!(world.load(&archive.tar()).unwrap()[0].names[0].familiar(), "app:1");
}

#[test]
fn archives_may_be_compressed() {
    let one = layer("one");
    let plain = layout(&config(&[&one]), &[&one], "").tar();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let zstd = zstd::bulk::compress(&plain, 1).unwrap();
    for archive in [bzip2(&plain), plain, gzip.finish().unwrap(), zstd] {
        assert_eq!(World::new().load(&archive).unwrap().len(), 1);
    }
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(bytes).unwrap();
    bzip2.finish().unwrap()
}

#[test]
fn a_layer_that_is_compressed_as_none_may_be_is_taken_in_as_its_tar() {
    let world = World::new();
    let one = layer("one");
    let config = config(&[&one]);
    let loaded = world.load(&old_form(&config, &[&bzip2(&one)], "[\"app:1\"]").tar()).unwrap();
    assert_eq!(loaded[0].id.0, Digest::of(&config));
    let record = world.store.record::<LayerRecord>(&Digest::of(&one).hex()).unwrap().unwrap();
    let blobs: Vec<_> = record.verified().map(|known| &known.blob).collect();
    assert_eq!((blobs.len(), blobs[0].digest), (1, Digest::of(&one)));
    assert!(world.store.blobs().size(&Digest::of(&one)).unwrap().is_some());
    assert!(world.store.blobs().size(&Digest::of(&bzip2(&one))).unwrap().is_none());
}

#[test]
fn a_layout_in_a_directory_is_read_without_leaving_it() {
    let (one, world) = (layer("one"), World::new());
    let config = config(&[&one]);
    let directory = tempfile::tempdir().unwrap();
    tar::Archive::new(&layout(&config, &[&one], "").tar()[..]).unpack(directory.path()).unwrap();
    let load = || load_directory(&world.store, directory.path(), &Platform::host());
    assert_eq!(load().unwrap()[0].id.0, Digest::of(&config));
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), &one).unwrap();
    let blob = directory.path().join("blobs/sha256").join(Digest::of(&one).hex());
    std::fs::remove_file(&blob).unwrap();
    std::os::unix::fs::symlink(outside.path(), &blob).unwrap();
    std::fs::remove_file(world.store.blobs().path(&Digest::of(&one))).unwrap();
    assert!(matches!(load(), Err(ImportError::Missing { .. })));
}

#[test]
fn what_lies_is_refused_and_leaves_nothing() {
    let world = World::new();
    let (one, two) = (layer("one"), layer("two"));
    let good = config(&[&one]);
    let names = r#"["app:1"]"#;
    let sound = || old_form(&good, &[&one], names);
    world.refuses(b"no archive at all", "cannot be read");
    world.refuses(&sound().tar()[..700], "cannot be read");
    world.refuses(&Archive::default().file("a", "b").tar(), "no images in it");
    world.refuses(&Archive::default().file("repositories", "{}").tar(), "before version 1.10");
    world.refuses(&sound().file("../../escape", "x").tar(), "leads out of it");
    world.refuses(&sound().link("0/out", "../../../etc/shadow").tar(), "leads out of it");
    world.refuses(&sound().link("0/layer.tar", "a").link("0/a", "layer.tar").tar(), "leads back to itself");
    world.refuses(&sound().link("0/layer.tar", "/etc/passwd").tar(), "0/layer.tar is missing");
    world.refuses(&old_form(&config(&[&two]), &[&one], names).tar(), "but its image says");
    world.refuses(&old_form(&config(&[&one, &two]), &[&one], names).tar(), "its config lists 2");
    world.refuses(&old_form(b"{}", &[&one], names).tar(), "the config is not what it should be");
    world.refuses(&old_form(&good, &[&one], r#"["UPPER"]"#).tar(), "invalid image name");
    world.refuses(&sound().file("manifest.json", vec![b' '; 17 << 20]).tar(), "larger than");
    world.refuses(&sound().file("manifest.json", "[{").tar(), "manifest.json is not what it should be");
}

#[test]
fn a_layout_that_lies_is_refused() {
    let world = World::new();
    let (one, two) = (layer("one"), layer("two"));
    let good = config(&[&one]);
    let path = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
    let sound = || layout(&good, &[&one], "");
    world.refuses(&sound().file(&path(&one), &two).tar(), "does not match its digest");
    world.refuses(&sound().file(&path(&good), b"{}").tar(), "does not match its digest");
    world.refuses(&layout(&config(&[&two]), &[&one], "").tar(), "but its image says");
    let mut without = sound();
    without.0.retain(|(name, ..)| *name != path(&one));
    world.refuses(&without.tar(), "is missing");
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"{}","size":2}}]}}"#,
        Digest::of(b"{}")
    );
    let neither = Archive::default().file("index.json", index).blob(b"{}");
    world.refuses(&neither.tar(), "neither a manifest nor an index");
}

#[test]
fn one_broken_image_keeps_out_its_companions() {
    let world = World::new();
    let (one, two) = (layer("one"), layer("two"));
    let archive = old_form(&config(&[&one]), &[&one], r#"["app:1"]"#);
    let archive = archive.file("broken.json", config(&[&two])).file(
        "manifest.json",
        r#"[{"Config":"config.json","RepoTags":["app:1"],"Layers":["0/layer.tar"]},
            {"Config":"broken.json","RepoTags":["app:2"],"Layers":["0/layer.tar"]}]"#,
    );
    world.refuses(&archive.tar(), "but its image says");
    assert!(world.store.records::<Tag>().unwrap().is_empty());
}
