//! Finding, listing and removing images of a store that is made of records alone.

use super::*;
use crate::image::{Config, Platform, Timestamp};
use crate::store::LayerRecord;

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

    /// An image that was made at a second of 1970, and its names.
    fn image(&self, created: i64, names: &[&str]) -> ImageId {
        let mut config = Config::scratch(&Platform::host());
        config.created = Some(Timestamp::from_seconds(created));
        config.config.labels.insert("made".to_owned(), created.to_string());
        let id = ImageId(self.store.blobs().put(&config.to_bytes()).unwrap());
        self.store.put_record(&id.0.hex(), &ImageRecord::default()).unwrap();
        for name in names {
            self.store.set_tag(&name.parse().unwrap(), id).unwrap();
        }
        id
    }

    fn catalog(&self) -> Catalog {
        Catalog::read(&self.store).unwrap()
    }

    fn listed(&self, filters: &[&str]) -> Vec<String> {
        let filters: Vec<Filter> = filters.iter().map(|filter| filter.parse().unwrap()).collect();
        let rows = list(&self.store, &self.catalog(), &filters).unwrap();
        let text = |row: &Row| match (&row.repository, &row.tag) {
            (Some(repository), Some(tag)) => format!("{repository}:{tag}"),
            _ => "<none>".to_owned(),
        };
        rows.iter().map(text).collect()
    }
}

#[test]
fn images_are_found_by_name_and_by_the_beginning_of_an_id() {
    let world = World::new();
    let (one, two) = (world.image(1, &["app:1", "reg.io/other"]), world.image(2, &["app:2"]));
    let catalog = world.catalog();
    let found = |text: &str| catalog.find(text).unwrap().image.id;
    assert_eq!(found("app:1"), one);
    assert_eq!(found("docker.io/library/app:2"), two);
    assert_eq!(found("reg.io/other"), one);
    assert_eq!(found(&one.to_string()), one);
    assert_eq!(found(&two.0.hex()[..12]), two);
    assert_eq!(found(&format!("sha256:{}", &two.0.hex()[..5])), two);
    assert!(catalog.find(&two.0.hex()[..3]).is_err());
}

#[test]
fn what_is_not_there_is_answered_with_what_is() {
    let world = World::new();
    world.image(1, &["app:1", "app:2", "builder:latest"]);
    let catalog = world.catalog();
    let near = |text: &str| catalog.find(text).unwrap_err().hint();
    assert_eq!(near("app").as_deref(), Some("there is app:1, app:2"));
    assert_eq!(near("bilder").as_deref(), Some("there is builder:latest"));
    assert_eq!(near("something"), None);
    assert!(matches!(catalog.find("UPPER"), Err(FindError::Name(_))));
}

#[test]
fn an_ambiguous_beginning_lists_the_candidates() {
    let world = World::new();
    let hex = |tail: &str| format!("sha256:abcd{}{tail}", "0".repeat(60 - tail.len()));
    for tail in ["1", "2"] {
        let id: crate::image::Digest = hex(tail).parse().unwrap();
        world.store.put_record(&id.hex(), &ImageRecord::default()).unwrap();
        world.store.set_tag(&format!("app:{tail}").parse().unwrap(), ImageId(id)).unwrap();
    }
    let error = world.catalog().find("abcd").unwrap_err();
    assert_eq!(error.hint().unwrap(), "it may be abcd00000000 (app:1), abcd00000000 (app:2)");
    assert!(world.catalog().find("abcd").is_err_and(|error| matches!(error, FindError::Ambiguous { .. })));
}

#[test]
fn the_newest_come_first_and_filters_choose() {
    let world = World::new();
    world.image(1, &["old:1"]);
    world.image(3, &["new:1", "new:latest", "reg.io/a/new:1"]);
    world.image(2, &[]);
    assert_eq!(world.listed(&[]), ["new:1", "new:latest", "reg.io/a/new:1", "<none>", "old:1"]);
    assert_eq!(world.listed(&["dangling=true"]), ["<none>"]);
    assert_eq!(world.listed(&["dangling=false", "label=made=1"]), ["old:1"]);
    assert_eq!(world.listed(&["label=other"]), [""; 0]);
    assert_eq!(world.listed(&["reference=new"]), ["new:1", "new:latest"]);
    assert_eq!(world.listed(&["reference=*:1"]), ["new:1", "old:1"]);
    assert_eq!(world.listed(&["reference=*/*/new"]), ["reg.io/a/new:1"]);
    assert_eq!(world.listed(&["reference=docker.io/library/new:1", "reference=old"]), ["new:1", "old:1"]);
    assert_eq!(world.listed(&["before=new:1"]), ["<none>", "old:1"]);
    assert_eq!(world.listed(&["since=old:1", "before=new:1"]), ["<none>"]);
    for wrong in ["dangling=perhaps", "reference", "colour=red", "reference=[a"] {
        assert!(wrong.parse::<Filter>().is_err(), "{wrong}");
    }
}

#[test]
fn sizes_are_what_is_known_of_the_layers() {
    let world = World::new();
    let diff_id = crate::image::DiffId(crate::image::Digest::of(b"layer"));
    let record = LayerRecord { size: Some(1000), ..LayerRecord::default() };
    world.store.put_record(&diff_id.0.hex(), &record).unwrap();
    let mut config = Config::scratch(&Platform::host());
    config.rootfs.diff_ids = vec![diff_id, crate::image::DiffId(crate::image::Digest::of(b"unknown"))];
    let id = ImageId(world.store.blobs().put(&config.to_bytes()).unwrap());
    world.store.put_record(&id.0.hex(), &ImageRecord::default()).unwrap();
    let catalog = world.catalog();
    let image = catalog.find(&id.to_string()).unwrap().image;
    let known = details(&world.store, image, &mut LayerSizes::default()).unwrap().unwrap();
    assert_eq!((known.size(), known.layers), (1000, vec![1000, 0]));
}

#[test]
fn records_of_earlier_versions_are_read() {
    let layer: LayerRecord = serde_json::from_str(r#"{"snapshot":null,"blobs":[]}"#).unwrap();
    assert_eq!(layer.size, None);
    let image: ImageRecord = serde_json::from_str(r#"{"manifest":null}"#).unwrap();
    assert!(image.places.is_empty());
}

#[test]
fn the_last_name_takes_the_image_along() {
    let world = World::new();
    let id = world.image(1, &["app:1", "app:2"]);
    let removed = |text: &str, force| remove(&world.store, text, force);
    assert!(matches!(removed(&id.to_string(), false), Err(RemoveError::SeveralNames { .. })));
    assert_eq!(removed("app:1", false).unwrap(), [Removed::Untagged("app:1".to_owned())]);
    assert!(matches!(removed("app:1", true), Err(RemoveError::Find(_))));
    assert_eq!(
        removed("app:2", false).unwrap(),
        [Removed::Untagged("app:2".to_owned()), Removed::Deleted(id)]
    );
    assert_eq!(world.catalog().images().count(), 0);
}

#[test]
fn an_id_takes_all_names_when_it_is_meant_to() {
    let world = World::new();
    let id = world.image(1, &["app:1", "app:2"]);
    let removed = remove(&world.store, &id.0.hex()[..12], true).unwrap();
    assert_eq!(removed.len(), 3);
    assert_eq!(world.listed(&[]), [""; 0]);
}

#[test]
fn a_repository_knows_its_names() {
    let world = World::new();
    world.image(1, &["app:1", "app:2", "other:1"]);
    let names = world.catalog().names_in("docker.io/library/app");
    assert_eq!(names.iter().map(Reference::familiar).collect::<Vec<_>>(), ["app:1", "app:2"]);
}
