//! Repositories within repositories. Git's own way would run scripts and write what a repository says into settings; here a list is
//! read, and every submodule is fetched as if somebody had named it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::super::error::ExecError;
use super::DEEPEST;
use super::checkout::Index;
use super::error::GitError;
use super::program::Git;
use super::repository::Repository;
use crate::dockerfile::GitRemote;

/// A repository whose files are wanted at a place: the one that was named, or one within another.
#[derive(Debug)]
pub(super) struct Submodule {
    pub remote: GitRemote,
    /// A commit, or a tag that leads to one.
    pub object: String,
    /// The full name that has led to it.
    pub name: Option<String>,
    /// An empty directory.
    pub place: PathBuf,
    /// In how many others it is.
    pub depth: usize,
}

/// What a repository says of one that is within it.
#[derive(Debug, PartialEq, Eq)]
enum Listed {
    At(String),
    /// Git fetches it for nobody who has not asked for that very one.
    LeftOut,
}

impl Git {
    /// The submodules of what was just checked out.
    pub(super) async fn submodules(
        &self,
        repository: &Repository,
        commit: &str,
        index: &Index,
        parent: &Submodule,
    ) -> Result<Vec<Submodule>, ExecError> {
        // As git has them after it has found their paths to be sound.
        let call = self.call("list the submodules".to_owned()).repository(&index.git_dir);
        let listing = call.variable("GIT_INDEX_FILE", &index.file).arguments(["ls-files", "--stage", "-z"]);
        let listing = listing.run().await?;
        let links: Vec<(String, &[u8])> = listing.split(|byte| *byte == 0).filter_map(link).collect();
        if links.is_empty() {
            return Ok(Vec::new());
        }
        let settings = self.quiet(repository, "read .gitmodules");
        let blob = format!("{commit}:.gitmodules");
        let settings = settings
            .arguments(["config", "--blob", &blob, "--no-includes", "--null", "--list"])
            .attempt()
            .await?;
        let listed = listed(&settings.unwrap_or_default());
        let wanted = links.into_iter().filter(|(_, path)| listed.get(*path) != Some(&Listed::LeftOut));
        wanted.map(|(object, path)| parent.submodule(&object, path, listed.get(path))).collect()
    }
}

impl Submodule {
    fn submodule(&self, object: &str, path: &[u8], listed: Option<&Listed>) -> Result<Self, ExecError> {
        let place = self.place.join(OsStr::from_bytes(path));
        let problem = |problem: String| GitError::Submodule {
            remote: self.remote.to_string(),
            path: String::from_utf8_lossy(path).into_owned(),
            problem,
        };
        let Some(Listed::At(address)) = listed else {
            return Err(problem("No url found for submodule path in .gitmodules".to_owned()).into());
        };
        if self.depth >= DEEPEST {
            return Err(problem("it lies in too many others".to_owned()).into());
        }
        let remote = self.remote.join(address).ok_or_else(|| {
            problem(format!(
                "{address:?} is no address of a repository that http, https, ssh or git leads to"
            ))
        })?;
        // Git has made an empty directory for it.
        if !std::fs::symlink_metadata(&place).is_ok_and(|found| found.is_dir()) {
            return Err(problem("there is no directory for it".to_owned()).into());
        }
        Ok(Self { remote, object: object.to_owned(), name: None, place, depth: self.depth + 1 })
    }
}

/// An entry of an index, if it stands for another repository: its commit and its path.
fn link(entry: &[u8]) -> Option<(String, &[u8])> {
    let rest = entry.strip_prefix(b"160000 ")?;
    let tab = rest.iter().position(|byte| *byte == b'\t')?;
    let object = rest[..tab].split(|byte| *byte == b' ').next()?;
    Some((String::from_utf8(object.to_vec()).ok()?, &rest[tab + 1..]))
}

/// What is said of each path, out of a list of settings.
fn listed(settings: &[u8]) -> HashMap<Vec<u8>, Listed> {
    let mut of_names: HashMap<&[u8], HashMap<&[u8], &[u8]>> = HashMap::new();
    for setting in settings.split(|byte| *byte == 0) {
        let Some(end) = setting.iter().position(|byte| *byte == b'\n') else { continue };
        let (key, value) = (&setting[..end], &setting[end + 1..]);
        let Some(key) = key.strip_prefix(b"submodule.") else { continue };
        let Some(dot) = key.iter().rposition(|byte| *byte == b'.') else { continue };
        of_names.entry(&key[..dot]).or_default().insert(&key[dot + 1..], value);
    }
    let of_path = |said: HashMap<&[u8], &[u8]>| {
        let path = said.get(b"path".as_slice())?.to_vec();
        if said.get(b"update".as_slice()).is_some_and(|how| *how == b"none") {
            return Some((path, Listed::LeftOut));
        }
        let address = String::from_utf8_lossy(said.get(b"url".as_slice())?);
        Some((path, Listed::At(address.into_owned())))
    };
    of_names.into_values().filter_map(of_path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_addresses() {
        let settings =
            b"core.x\ny\0submodule.a.b.path\nlib/a\0submodule.a.b.url\n../a.git\0submodule.c.path\nc\0\
            submodule.a.b.update\n!rm\0submodule.d.url\nhttps://h/d.git\0submodule.e.path\0\
            submodule.f.path\nf\0submodule.f.url\nhttps://h/f.git\0submodule.f.update\nnone\0submodule.path\nx\0";
        let address = Listed::At("../a.git".to_owned());
        let expected = HashMap::from([(b"lib/a".to_vec(), address), (b"f".to_vec(), Listed::LeftOut)]);
        assert_eq!(listed(settings), expected);
    }

    #[test]
    fn links_to_commits_are_told_from_files() {
        let id = "1234567890123456789012345678901234567890";
        let of = |text: &str| link(text.as_bytes()).map(|(id, path)| (id, path.to_vec()));
        assert_eq!(of(&format!("160000 {id} 0\ta b")), Some((id.to_owned(), b"a b".to_vec())));
        assert_eq!(of(&format!("100644 {id} 0\ta")), None);
        assert_eq!(of(""), None);
    }
}
