//! What identifies the files of a repository.

use super::definition::source_digest;
use super::op::GitOp;
use crate::dockerfile::{GitTimes, is_commit};
use crate::image::Digest;

impl GitOp {
    /// Known beforehand only where the commit is.
    pub(super) fn digests(&self) -> Vec<Digest> {
        self.commit().map(|commit| self.digest_of(commit, Some(commit))).into_iter().collect()
    }

    /// The commit, if it is named by its whole id.
    pub fn commit(&self) -> Option<&str> {
        self.reference.as_deref().filter(|name| is_commit(name))
    }

    /// What the files are known by once the commit is: its id, or where the repository's own files are wanted that of the tag,
    /// with the full name that has led to it.
    pub fn digest_of(&self, commit: &str, name: Option<&str>) -> Digest {
        let mut text = commit.to_owned();
        if self.keep_git_dir {
            text.push_str(".git");
            text.extend(name.into_iter().flat_map(|name| ["#", name]));
        }
        text.extend(self.subdir.iter().flat_map(|subdir| [":", subdir]));
        if !self.submodules {
            text.push_str("(skip-submodules)");
        }
        text.push_str(match self.times {
            GitTimes::Checkout => "",
            GitTimes::Commit => "(mtime=commit)",
        });
        source_digest(&text)
    }

    /// What the commit leaves open: the address, where that is in the repository's own files. A commit of a fork is not to come with
    /// the address of the other.
    pub fn origin(&self) -> Option<Digest> {
        let is_kept = self.keep_git_dir && self.subdir.is_none();
        is_kept.then(|| Digest::of(format!("origin {}", self.remote).as_bytes()))
    }

    /// For people, and to tell one wish from another.
    pub(super) fn definition(&self) -> String {
        let mut text = format!("git {}", self.remote);
        let mut add = |what: &str, value: Option<&str>| {
            text.extend(value.into_iter().flat_map(|value| [" ", what, value]));
        };
        add("", self.reference.as_deref());
        add("checksum=", self.checksum.as_deref());
        add("subdir=", self.subdir.as_deref());
        add("keep-git-dir", self.keep_git_dir.then_some(""));
        add("submodules=false", (!self.submodules).then_some(""));
        add("mtime=commit", (self.times == GitTimes::Commit).then_some(""));
        add("fetch-by-commit", self.fetch_by_commit.then_some(""));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::GitSource;
    use crate::graph::Op;

    const SHA: &str = "1234567890123456789012345678901234567890";

    fn op(text: &str) -> GitOp {
        GitOp::from(GitSource::parse(text).unwrap().unwrap())
    }

    fn key(text: &str) -> Vec<Digest> {
        vec![Digest::of(format!("buildkit.source.v0:{text}").as_bytes())]
    }

    /// The names are BuildKit's, byte for byte.
    #[test]
    fn a_commit_is_known_by_its_id_and_what_is_wanted_of_it() {
        let of = |text: &str| Op::Git(op(&format!("https://h/x.git{text}"))).digests();
        let sha = SHA;
        assert_eq!(of(&format!("#{sha}")), key(sha));
        let pinned = "sha256:22da2551ed36f96a34d8e8d704edabb81cf25a29f50e1310830a7bafb220cdd9";
        assert_eq!(of(&format!("#{sha}"))[0].to_string(), pinned);
        assert_eq!(of(&format!("?commit={sha}")), key(sha));
        assert_eq!(of(&format!("#{sha}:a/b/")), key(&format!("{sha}:a/b/")));
        assert_eq!(of(&format!("?submodules=false#{sha}")), key(&format!("{sha}(skip-submodules)")));
        assert_eq!(of(&format!("?keep-git-dir=1#{sha}")), key(&format!("{sha}.git#{sha}")));
        assert_eq!(
            of(&format!("?keep-git-dir=1&submodules=0&mtime=commit&subdir=/d#{sha}")),
            key(&format!("{sha}.git#{sha}:/d(skip-submodules)(mtime=commit)"))
        );
        assert!(
            of("").is_empty() && of("#main").is_empty() && of(&format!("?checksum={sha}#main")).is_empty()
        );
    }

    #[test]
    fn neither_the_name_nor_the_checksum_counts_once_the_commit_is_known() {
        let plain = op("https://h/x.git");
        let digest = plain.digest_of(SHA, Some("refs/heads/main"));
        assert_eq!(vec![digest], key(SHA));
        let pinned = op(&format!("git@other:x?checksum={SHA}#v1"));
        assert_eq!(pinned.digest_of(SHA, Some("refs/tags/v1")), digest);
        // With the repository's own files the name is part of them.
        let kept = op(&format!("https://h/x.git?keep-git-dir=1&checksum={SHA}#v1"));
        let expected = key(&format!("{SHA}.git#refs/tags/v1"));
        assert_eq!(vec![kept.digest_of(SHA, Some("refs/tags/v1"))], expected);
    }

    #[test]
    fn definitions_have_all_but_the_login() {
        let definition = Op::Git(op(&format!(
            "https://u:p@h/x.git?keep-git-dir=1&checksum={SHA}&submodules=0&mtime=commit&fetch-by-commit&subdir=d#v1"
        )))
        .definition();
        let expected = "git https://h/x.git v1 checksum=1234567890123456789012345678901234567890 subdir=d \
            keep-git-dir submodules=false mtime=commit fetch-by-commit";
        assert_eq!(definition, expected);
    }
}
