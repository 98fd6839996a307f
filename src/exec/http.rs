//! Files from addresses: fetched once, and asked for again and again whether they have changed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags, Timespec, Timestamps, futimens};

use super::error::ExecError;
use super::known::{Key, LookUps};
use super::{Executor, Output};
use crate::graph::{HttpOp, Op, VertexId};
use crate::image::Digest;
use crate::registry::{FileRequest, Secret, Validators, hosts_of};
use crate::snapshot::Draft;
use crate::solve::{Found, StepKey};
use crate::store::{DownloadRecord, Workspace};
use crate::sys::rooted::Root;
use crate::sys::{At, blocking};

/// As long as nobody says otherwise.
const MODE: u32 = 0o600;

impl LookUps {
    /// What is known without asking the server: all, if a checksum says what the file is; nothing, if it may have changed.
    pub(super) fn look_up_download(&self, op: &HttpOp) -> Result<Found<Key, Output>, ExecError> {
        let Some(digest) = Op::Http(op.clone()).digests().pop() else {
            // Something to wait for each other by: two builds need not fetch it at the same time.
            let step = Some(StepKey(asked_for(op)));
            return Ok(Found { key: Key { step, ..Key::default() }, known: false, output: None });
        };
        let key = self.source_key(digest, None);
        let output = self.find_source(&key)?;
        Ok(Found { key, known: true, output })
    }

    /// What came from the address last, if it is still there.
    fn last_download(&self, op: &HttpOp) -> Result<Option<(DownloadRecord, Key, Output)>, ExecError> {
        let Some(record) = self.store.record::<DownloadRecord>(&asked_for(op).hex())? else {
            return Ok(None);
        };
        let key = self.source_key(op.digest_of(&record.body, record.last_modified.as_deref()), None);
        let output = self.find_source(&key)?;
        Ok(output.map(|output| (record, key, output)))
    }
}

impl Executor {
    /// Fetches the file unless it is what it was the last time.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        vertex: VertexId,
        op: &HttpOp,
    ) -> Result<(Key, Output), ExecError> {
        let (executor, asked) = (Arc::clone(self), op.clone());
        let (last, workspace, upper, mut file) = blocking(move || {
            // With a checksum there is nothing to be asked about: what is here is known, and what is not has to come.
            let last = if asked.checksum.is_none() { executor.last_download(&asked)? } else { None };
            let workspace = executor.store.workspace()?;
            let (upper, file) = new_file(&workspace, &asked.name)?;
            Ok::<_, ExecError>((last, workspace, upper, file))
        })
        .await?;
        let request = FileRequest {
            url: &op.url,
            authorization: self.authorization(&op.url)?,
            known: last.as_ref().map(|(record, _, _)| Validators {
                etag: record.etag.clone(),
                last_modified: record.last_modified_to_ask_with(),
            }),
            checksum: op.checksum.as_deref(),
        };
        let downloaded = self.client.download_file(&request, &mut file).await.map_err(Box::new)?;
        let downloaded = match (downloaded, last) {
            (Some(downloaded), _) => downloaded,
            (None, Some((_, key, output))) => return Ok((key, output)),
            (None, None) => return Err(ExecError::Unexpected("what is unchanged was there before")),
        };
        let (executor, op) = (Arc::clone(self), op.clone());
        blocking(move || {
            set_time(&file, downloaded.modified, &op.name)?;
            drop(file);
            let last_modified = downloaded.last_modified.as_deref();
            let key = executor.source_key(op.digest_of(&downloaded.body, last_modified), None);
            let output = match executor.find_source(&key)? {
                // It came anew and is what it was.
                Some(output) => output,
                None => executor.remember_source(vertex, &key, workspace, &upper)?,
            };
            if let (None, Some(step)) = (&op.checksum, key.step) {
                let record = DownloadRecord {
                    body: downloaded.body,
                    may_be_asked_by_time: downloaded.validators.last_modified.is_some(),
                    etag: downloaded.validators.etag,
                    last_modified: downloaded.last_modified,
                    step: step.0,
                };
                executor.store.put_record(&asked_for(&op).hex(), &record)?;
            }
            Ok((key, output))
        })
        .await
    }

    /// What the server is told of who asks: a secret that is named after it.
    fn authorization(&self, url: &str) -> Result<Option<Secret>, ExecError> {
        for host in hosts_of(url) {
            for (name, before) in [("HTTP_AUTH_HEADER_", ""), ("HTTP_AUTH_TOKEN_", "Bearer ")] {
                let id = format!("{name}{host}");
                let Some(secret) = self.mounts.given.secret(&id, false)? else { continue };
                let text = std::str::from_utf8(secret.bytes()).map(str::trim_end).ok();
                let text = text.filter(|text| !text.contains(char::is_control));
                let text = text.ok_or(ExecError::SecretNotHeader { id })?;
                return Ok(Some(Secret::new(format!("{before}{text}"))));
            }
        }
        Ok(None)
    }
}

/// What tells one download from another before anything has come.
fn asked_for(op: &HttpOp) -> Digest {
    Digest::of(Op::Http(op.clone()).definition().as_bytes())
}

fn new_file(workspace: &Workspace, name: &str) -> Result<(PathBuf, File), ExecError> {
    let draft = Draft::create(workspace.path())?;
    let root = Root::open(&draft.upper())?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    let file = root.open_at(Path::new(name), flags, Mode::from_raw_mode(MODE))?;
    Ok((draft.upper(), File::from(file)))
}

/// A file whose time of change nobody knows is as old as can be.
fn set_time(file: &File, modified: Option<SystemTime>, name: &str) -> Result<(), ExecError> {
    let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let time = Timespec { tv_sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(futimens(file, &times).at("set times of", name)?)
}
