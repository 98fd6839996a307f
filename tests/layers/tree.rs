//! Trees of files that somebody might make, and somebody else would not think of.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use rbuild::sys::attributes;
use rbuild::sys::ownership::{self, Device};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, chownat, mknodat, utimensat};

/// What is to be made at a place.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Which of the directories that are there it goes to.
    pub(crate) directory: usize,
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) about: About,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Directory,
    File(Content),
    Symlink(Vec<u8>),
    /// Another name of one of the things that are there.
    Link(usize),
    Fifo,
    Socket,
    Device(Device),
}

/// So many times a byte between two holes.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    hole: u64,
    byte: u8,
    times: usize,
    end: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) time: (i64, i64),
    pub(crate) attributes: Vec<(&'static str, Vec<u8>)>,
}

const CAPABILITY: &str = "security.capability";
const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

pub(crate) fn plans(most: usize) -> impl Strategy<Value = Vec<Plan>> {
    vec((any::<usize>(), name(), kind(), about()), 0..most).prop_map(|plans| {
        let plan = |(directory, name, kind, about)| Plan { directory, name, kind, about };
        plans.into_iter().map(plan).collect()
    })
}

pub(crate) fn name() -> impl Strategy<Value = Vec<u8>> {
    let odd: [&[u8]; 16] = [
        b"new\nline",
        b"\xff\xfe",
        b"..wh",
        b".w",
        b"...",
        b"wh.x",
        b" ",
        b"-rf",
        "ü".as_bytes(),
        b"a=b",
        b"\"'\\",
        b"17 path=x\n",
        &[b'l'; 99],
        &[b'l'; 100],
        &[b'l'; 101],
        &[b'l'; 255],
    ];
    prop_oneof![
        4 => select(vec!["a", "b", "c", "d"]).prop_map(|name| name.as_bytes().to_vec()),
        2 => select(odd.map(<[u8]>::to_vec).to_vec()),
        1 => vec(any::<u8>(), 1..20).prop_filter("no name", |name| {
            !name.contains(&0) && !name.contains(&b'/') && name != b"." && name != b".." && !name.starts_with(b".wh.")
        }),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    let target = prop_oneof![
        vec(1..=255_u8, 1..12),
        select(vec![vec![b't'; 101], b"../../x".to_vec(), b"/etc".to_vec()])
    ];
    let devices = [(true, 1, 3), (true, 259, 1027), (false, 7, 0), (false, 4095, 1_048_575)];
    let device = |(is_character, major, minor): (bool, u32, u32)| Device {
        kind: if is_character { FileType::CharacterDevice } else { FileType::BlockDevice },
        number: rustix::fs::makedev(major, minor),
    };
    prop_oneof![
        5 => content().prop_map(Kind::File),
        5 => Just(Kind::Directory),
        2 => target.prop_map(Kind::Symlink),
        2 => any::<usize>().prop_map(Kind::Link),
        1 => Just(Kind::Fifo),
        1 => Just(Kind::Socket),
        1 => select(devices.map(device).to_vec()).prop_map(Kind::Device),
    ]
}

pub(crate) fn content() -> impl Strategy<Value = Content> {
    let holes = (select(vec![0, 0, 0, 4096, 100_000]), select(vec![0, 0, 8192]));
    (holes, any::<u8>(), 0..1500_usize).prop_map(|((hole, end), byte, times)| Content {
        hole,
        byte,
        times,
        end,
    })
}

fn about() -> impl Strategy<Value = About> {
    let mode = prop_oneof![0_u32..0o10000, select(vec![0, 0o644, 0o4755, 0o2711, 0o1777, 0o7777])];
    let ids = || select(vec![0, 0, 1, 1000, 65534, 2_097_152, 4_000_000_000]);
    // As far as ext4 goes: from 1901 to 2446; from 2242 on the plain field of a header is too small.
    let seconds = prop_oneof![
        0..2_000_000_000_i64,
        select(vec![
            0,
            -1,
            -315_360_000,
            i64::from(i32::MIN),
            1 << 31,
            1 << 32,
            (1 << 33) - 1,
            1 << 33,
            15_032_385_535
        ])
    ];
    let nanoseconds = prop_oneof![Just(0), 0..1_000_000_000_i64];
    (mode, (ids(), ids()), (seconds, nanoseconds), attributes())
        .prop_map(|(mode, owner, time, attributes)| About { mode, owner, time, attributes })
}

fn attributes() -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
    let value = || vec(any::<u8>(), 0..100);
    let own = |name| value().prop_map(move |value| vec![(name, value)]);
    let cap = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    prop_oneof![
        6 => Just(Vec::new()),
        1 => own("user.a"),
        1 => (own("user.a=b\n"), own("user.\u{fc}")).prop_map(|(one, other)| [one, other].concat()),
        1 => Just(vec![(CAPABILITY, cap.to_vec())]),
        1 => Just(vec![(ACCESS, access_list())]),
        1 => Just(vec![(DEFAULT, access_list())]),
    ]
}

/// `user::rwx,user:0:r-x,group::r-x,mask::rwx,other::r--` as the kernel takes it.
fn access_list() -> Vec<u8> {
    let none = u32::MAX;
    let rows = [(1_u16, 7_u16, none), (2, 5, 0), (4, 5, none), (0x10, 7, none), (0x20, 4, none)];
    let row = |(tag, allowed, id): (u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &allowed.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    [2_u32.to_le_bytes().to_vec(), rows.map(row).concat()].concat()
}

/// Makes a tree in `root`, which is empty. What cannot be made at its place is left out.
pub(crate) fn make(root: &Path, plans: &[Plan]) {
    let mut directories = vec![root.to_owned()];
    let mut others: Vec<PathBuf> = Vec::new();
    let mut made = Vec::new();
    for plan in plans {
        let place = directories[plan.directory % directories.len()].join(OsStr::from_bytes(&plan.name));
        if place.as_os_str().len() > 3000 || !create(&place, &plan.kind, &others) {
            continue;
        }
        match plan.kind {
            Kind::Directory => directories.push(place.clone()),
            _ => others.push(place.clone()),
        }
        made.push((place, plan));
    }
    for (place, plan) in &made {
        decorate(place, &plan.about);
    }
    // Making entries has changed the directories.
    for (place, plan) in made.iter().rev() {
        set_time(place, plan.about.time);
    }
}

/// Makes one thing; false if there is something already, or what it needs is not there.
pub(crate) fn create(place: &Path, kind: &Kind, others: &[PathBuf]) -> bool {
    if place.symlink_metadata().is_ok() {
        return false;
    }
    match kind {
        Kind::Directory => fs::create_dir(place).unwrap(),
        Kind::File(content) => content.write(&mut File::create_new(place).unwrap()),
        Kind::Symlink(target) => std::os::unix::fs::symlink(OsStr::from_bytes(target), place).unwrap(),
        Kind::Link(_) if others.is_empty() => return false,
        Kind::Link(which) => fs::hard_link(&others[which % others.len()], place).unwrap(),
        Kind::Fifo => mknodat(CWD, place, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap(),
        // By the call for devices: that of sockets takes short paths only.
        Kind::Socket => mknodat(CWD, place, FileType::Socket, Mode::from_raw_mode(0o600), 0).unwrap(),
        Kind::Device(device) => {
            let parent = File::open(place.parent().unwrap()).unwrap();
            ownership::make_device(&parent, place.file_name().unwrap(), *device, 0, 0).unwrap();
        }
    }
    true
}

impl Content {
    pub(crate) fn write(&self, file: &mut File) {
        file.seek(SeekFrom::Start(self.hole)).unwrap();
        file.write_all(&vec![self.byte; self.times]).unwrap();
        file.set_len(self.hole + self.times as u64 + self.end).unwrap();
    }
}

pub(crate) fn decorate(place: &Path, about: &About) {
    let kind = FileType::from_raw_mode(rustix::fs::lstat(place).unwrap().st_mode);
    let is_directory = kind == FileType::Directory;
    if !is_directory && kind != FileType::RegularFile {
        let (uid, gid) = (Uid::from_raw(about.owner.0), Gid::from_raw(about.owner.1));
        // Where there is no such id it stays root's: records beside a layer are no matter of the tree.
        let _ = chownat(CWD, place, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
        if kind != FileType::Symlink {
            rustix::fs::chmod(place, Mode::from_raw_mode(about.mode)).unwrap();
        }
        return;
    }
    let file = File::open(place).unwrap();
    ownership::chown(&file, about.owner.0, about.owner.1).unwrap();
    ownership::chmod(&file, about.mode).unwrap();
    let is_device = ownership::read(&file).is_some_and(|recorded| recorded.device.is_some());
    for (name, value) in &about.attributes {
        let fits = if is_directory { *name != CAPABILITY } else { *name != DEFAULT && !is_device };
        if fits {
            attributes::set(&file, name.as_bytes(), value).unwrap();
        }
    }
}

pub(crate) fn set_time(place: &Path, (tv_sec, tv_nsec): (i64, i64)) {
    let time = Timespec { tv_sec, tv_nsec };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, place, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}
