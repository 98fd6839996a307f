//! What goes into a layer comes out of it, whoever unpacks it, and a step's changes make of the tree before it the one after.
//!
//! `PROPTEST_CASES` says how many trees are tried.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rbuild::layer::{pack, unpack};
use rbuild::snapshot::{Draft, Writable, flatten};
use rbuild::sys::mount::{self, Overlay};
use rbuild::sys::ownership;

use crate::change::{Change, apply, changes};
use crate::inside::is_inside;
use crate::listing::{assert_alike, assert_same, list};
use crate::support::require_tool;
use crate::tree::{self, Kind, Plan};
use crate::world::World;

fn runner(usual: u32) -> TestRunner {
    let cases = std::env::var("PROPTEST_CASES").ok().map_or(usual, |cases| cases.parse().unwrap());
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

fn packed(directory: &Path, below: &[PathBuf], latest: Option<i64>) -> Vec<u8> {
    let mut tar = Vec::new();
    pack(directory, below, latest, &mut tar).unwrap();
    tar
}

#[test]
fn packing_and_unpacking_lose_nothing() {
    if !is_inside("round_trip::packing_and_unpacking_lose_nothing") {
        return;
    }
    let there_and_back = |plans: Vec<Plan>| {
        let world = World::new();
        let (first, second) = (world.directory("first"), world.directory("second"));
        tree::make(&first, &plans);
        let tar = packed(&first, &[], None);
        unpack(&tar[..], &second).unwrap();
        assert_same(&list(&second), &list(&first));
        assert!(packed(&second, &[], None) == tar, "packed again it is another tar");
        // All of it is there already. Names that belong together are written together, to be on the safe side.
        if !plans.iter().any(|plan| matches!(plan.kind, Kind::Link(_))) {
            assert!(packed(&second, &[first], None) == [0; 1024], "nothing has changed");
        }
        Ok(())
    };
    runner(60).run(&tree::plans(25), there_and_back).unwrap();
}

#[test]
fn gnu_tar_finds_the_same() {
    require_tool!("tar");
    if !is_inside("round_trip::gnu_tar_finds_the_same") {
        return;
    }
    let unpacked = |mut plans: Vec<Plan>| {
        let world = World::new();
        let (first, second) = (world.directory("first"), world.directory("second"));
        restrict(&world, &mut plans);
        tree::make(&first, &plans);
        let archive = world.path("layer.tar");
        fs::write(&archive, packed(&first, &[], None)).unwrap();
        let flags = ["--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf"];
        let ran = Command::new("tar").args(flags).arg(&archive).arg("-C").arg(&second).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        assert_same(&list(&second), &list(&first));
        Ok(())
    };
    runner(15).run(&tree::plans(25), unpacked).unwrap();
}

/// Tar knows nothing of records: leaves out what it could not make for real here, and the lists that it keeps in another form.
fn restrict(world: &World, plans: &mut Vec<Plan>) {
    let probe = fs::File::create(world.path("probe")).unwrap();
    let may_have = |id: u32| {
        ownership::chown(&probe, id, id).unwrap();
        ownership::read(&probe).is_none()
    };
    let (any, some) = (may_have(4_000_000_000), may_have(1000));
    plans.retain(|plan| any || !matches!(plan.kind, Kind::Device(_)));
    for plan in plans {
        let id = |id: u32| if any || some && id <= 1000 { id } else { 0 };
        plan.about.owner = (id(plan.about.owner.0), id(plan.about.owner.1));
        plan.about.attributes.retain(|(name, _)| !name.starts_with("system."));
    }
}

#[test]
fn changes_make_of_one_tree_the_other() {
    if !is_inside("round_trip::changes_make_of_one_tree_the_other") {
        return;
    }
    let changed = |(plans, steps): (Vec<Plan>, [Vec<Change>; 2])| {
        let world = World::new();
        let made = world.directory("0");
        tree::make(&made, &plans);
        let (mut chain, mut unpacked) = (vec![made.clone()], vec![made]);
        for (index, changes) in steps.iter().enumerate() {
            step(&world, &format!("step-{index}"), changes, &mut chain, &mut unpacked)?;
        }
        Ok(())
    };
    let steps = (changes(12), changes(6));
    let strategy = (tree::plans(20), proptest::strategy::Strategy::prop_map(steps, |(one, two)| [one, two]));
    runner(25).run(&strategy, changed).unwrap();
}

/// Changes the tree of a chain through an overlay and on a copy. Both have to leave the same layer, which makes of the chain as
/// it was unpacked the tree that was seen.
fn step(
    world: &World,
    name: &str,
    changes: &[Change],
    chain: &mut Vec<PathBuf>,
    unpacked: &mut Vec<PathBuf>,
) -> Result<(), TestCaseError> {
    let draft = Draft::create(&world.directory(&format!("{name}-overlay"))).unwrap();
    let (upper, work) = (draft.upper(), draft.work());
    let overlay = Overlay { lowers: chain, changes: Some((&upper, &work)), devices: false };
    let tree = mount::overlay(overlay).unwrap();
    let shown = Path::new("/proc/self/fd").join(tree.as_raw_fd().to_string()).join(".");
    apply(&shown, changes);
    let seen = list(&shown);
    drop(tree);
    let tar = packed(&upper, chain, None);

    let other = Draft::create(&world.directory(&format!("{name}-copy"))).unwrap();
    let copy = Writable::copy(&other, chain, &[]).unwrap();
    apply(copy.tree(), changes);
    copy.collect().unwrap();
    // With one time for all that is new, because the two were not changed at the same time.
    let [one, two] = [&upper, &other.upper()].map(|upper| packed(upper, chain, Some(i64::from(i32::MIN))));
    assert!(one == two, "an overlay and a copy leave different layers:\n{}\n{}", names(&one), names(&two));

    let layer = world.directory(&format!("{name}-unpacked"));
    unpack(&tar[..], &layer).unwrap();
    assert!(packed(&layer, unpacked, None) == tar, "packed again it is another tar");
    unpacked.insert(0, layer);
    chain.insert(0, upper);
    let result = world.directory(&format!("{name}-result"));
    flatten(unpacked, &result).unwrap();
    assert_alike(&list(&result), &seen);
    Ok(())
}

fn names(tar: &[u8]) -> String {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap();
    let lines = entries.map(|entry| {
        let entry = entry.unwrap();
        let header = entry.header();
        format!(
            "{:?} {:o} {}",
            header.entry_type(),
            header.mode().unwrap(),
            entry.path_bytes().escape_ascii()
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}
