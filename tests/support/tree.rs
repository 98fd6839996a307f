//! Trees of files as lists of short lines: to be made, and to be compared with what came out.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::{Image, Kind};

/// Makes the files that lines tell of, parents with mode 0755: `dir/ 711`, `file 644 content`, `link -> target`,
/// `name == other name`; a blank in a name is `%20`. Directories have mode 755 and files 644 with their own path as content where a line says no more.
pub(crate) fn lay(directory: &Path, lines: &[&str]) {
    // Modes last: some forbid what comes after them.
    let mut modes = Vec::new();
    for line in lines {
        if let Some((name, target)) = line.split_once(" -> ") {
            parents(directory, name);
            symlink(target, directory.join(name)).unwrap();
            continue;
        }
        if let Some((name, other)) = line.split_once(" == ") {
            parents(directory, name);
            fs::hard_link(directory.join(other), directory.join(name)).unwrap();
            continue;
        }
        let mut words = line.splitn(3, ' ');
        let name = words.next().unwrap();
        let mode = words.next().map(|mode| u32::from_str_radix(mode, 8).unwrap());
        parents(directory, name);
        let path = directory.join(name.replace("%20", " "));
        if name.ends_with('/') {
            fs::create_dir_all(&path).unwrap();
        } else {
            fs::write(&path, words.next().unwrap_or(name)).unwrap();
        }
        modes.push((path, mode.unwrap_or(if name.ends_with('/') { 0o755 } else { 0o644 })));
    }
    for (path, mode) in modes.into_iter().rev() {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
}

fn parents(directory: &Path, name: &str) {
    let mut path = directory.to_owned();
    for part in Path::new(name).parent().unwrap() {
        path.push(part);
        if !path.exists() {
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }
    }
}

/// What is in an image: `d755 path`, `f644 path: content`, `l path -> target`, `path == other`, `c620 path 1:3`, `p600 path`;
/// with the owner behind the mode where it is not root: `f644 1:2 path: content`.
pub(crate) fn tree(image: &Image) -> Vec<String> {
    let line = |(path, entry): (String, super::Entry)| {
        let owner = match (entry.uid, entry.gid) {
            (0, 0) => String::new(),
            (uid, gid) => format!("{uid}:{gid} "),
        };
        let mode = entry.mode;
        match entry.kind {
            Kind::Directory => format!("d{mode:o} {owner}{path}"),
            Kind::File { content } => {
                format!("f{mode:o} {owner}{path}: {}", String::from_utf8_lossy(&content).trim_end())
            }
            Kind::Symlink { target } => format!("l {owner}{path} -> {target}"),
            Kind::Hardlink { to } => format!("{path} == {to}"),
            Kind::Other(b'6') => format!("p{mode:o} {owner}{path}"),
            Kind::Other(kind) => {
                let letter = if kind == b'3' { 'c' } else { 'b' };
                let (major, minor) = entry.device.unwrap();
                format!("{letter}{mode:o} {owner}{path} {major}:{minor}")
            }
        }
    };
    image.files().into_iter().map(line).collect()
}

/// Compares all that is in an image with what is expected, whatever the order.
#[track_caller]
pub(crate) fn assert_tree(image: &Image, expected: &[&str], about: &str) {
    let (mut found, mut expected) =
        (tree(image), expected.iter().map(ToString::to_string).collect::<Vec<_>>());
    found.sort();
    expected.sort();
    assert!(
        found == expected,
        "{about}\n--- expected\n{}\n--- found\n{}",
        expected.join("\n"),
        found.join("\n")
    );
}

/// A tar of entries, each a line as [`lay`] takes them, with an owner behind the mode if it is not root's, and further kinds:
/// `pipe | 600`, `node c 620 1:3`.
pub(crate) fn tar(lines: &[&str]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for line in lines {
        append(&mut builder, line);
    }
    builder.into_inner().unwrap()
}

fn append(builder: &mut tar::Builder<Vec<u8>>, line: &str) {
    let mut header = tar::Header::new_ustar();
    header.set_size(0);
    header.set_mtime(1_000_000_000);
    let mut content = String::new();
    let linked = |separator| line.split_once(separator).map(|(name, to): (&str, &str)| (name, to));
    let name = if let Some((name, target)) = linked(" -> ") {
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_link_name_literal(target).unwrap();
        header.set_mode(0o777);
        name
    } else if let Some((name, other)) = linked(" == ") {
        header.set_entry_type(tar::EntryType::Link);
        header.set_link_name_literal(other).unwrap();
        header.set_mode(0o644);
        name
    } else {
        let mut words: Vec<&str> = line.split(' ').collect();
        let name = words.remove(0);
        let kind = match words.first() {
            Some(&"|") => tar::EntryType::Fifo,
            Some(&"c") => tar::EntryType::Char,
            _ if name.ends_with('/') => tar::EntryType::Directory,
            _ => tar::EntryType::Regular,
        };
        header.set_entry_type(kind);
        if matches!(kind, tar::EntryType::Fifo | tar::EntryType::Char) {
            words.remove(0);
        }
        let usual = if kind == tar::EntryType::Directory { 0o755 } else { 0o644 };
        let mode = if words.is_empty() { usual } else { u32::from_str_radix(words.remove(0), 8).unwrap() };
        header.set_mode(mode);
        if kind == tar::EntryType::Char {
            let (major, minor) = words.remove(0).split_once(':').unwrap();
            header.set_device_major(major.parse().unwrap()).unwrap();
            header.set_device_minor(minor.parse().unwrap()).unwrap();
        }
        let owner = words.first().and_then(|word| word.split_once(':'));
        if let Some((Ok(uid), Ok(gid))) = owner.map(|(uid, gid)| (uid.parse(), gid.parse())) {
            header.set_uid(uid);
            header.set_gid(gid);
            words.remove(0);
        }
        if kind == tar::EntryType::Regular {
            content = if words.is_empty() { name.to_owned() } else { words.join(" ") };
            header.set_size(content.len() as u64);
        }
        name
    };
    // As written, be it absolute or leading out.
    let field = &mut header.as_old_mut().name;
    field[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    builder.append(&header, content.as_bytes()).unwrap();
}
