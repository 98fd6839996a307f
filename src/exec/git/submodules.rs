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
        let addresses = addresses(&settings.unwrap_or_default());
        links.into_iter().map(|(object, path)| parent.submodule(&object, path, &addresses)).collect()
    }
}

impl Submodule {
    fn submodule(
        &self,
        object: &str,
        path: &[u8],
        addresses: &HashMap<Vec<u8>, String>,
    ) -> Result<Self, ExecError> {
        let place = self.place.join(OsStr::from_bytes(path));
        let problem = |problem: String| GitError::Submodule {
            remote: self.remote.to_string(),
            path: String::from_utf8_lossy(path).into_owned(),
            problem,
        };
        let address = addresses.get(path);
        let address =
            address.ok_or_else(|| problem("No url found for submodule path in .gitmodules".to_owned()))?;
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

/// The address of each path, out of a list of settings.
fn addresses(settings: &[u8]) -> HashMap<Vec<u8>, String> {
    let mut paths: HashMap<&[u8], &[u8]> = HashMap::new();
    let mut urls: HashMap<&[u8], String> = HashMap::new();
    for setting in settings.split(|byte| *byte == 0) {
        let Some(end) = setting.iter().position(|byte| *byte == b'\n') else { continue };
        let (key, value) = (&setting[..end], &setting[end + 1..]);
        let Some(key) = key.strip_prefix(b"submodule.") else { continue };
        if let Some(name) = key.strip_suffix(b".path") {
            paths.insert(name, value);
        } else if let Some(name) = key.strip_suffix(b".url") {
            urls.insert(name, String::from_utf8_lossy(value).into_owned());
        }
    }
    let of_path = |(name, path): (&[u8], &[u8])| Some((path.to_vec(), urls.get(name)?.clone()));
    paths.into_iter().filter_map(of_path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_addresses() {
        let settings =
            b"core.x\ny\0submodule.a.b.path\nlib/a\0submodule.a.b.url\n../a.git\0submodule.c.path\nc\0\
            submodule.a.b.update\n!rm\0submodule.d.url\nhttps://h/d.git\0submodule.e.path\0";
        let expected = HashMap::from([(b"lib/a".to_vec(), "../a.git".to_owned())]);
        assert_eq!(addresses(settings), expected);
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
