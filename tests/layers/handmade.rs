//! Tars put together header by header, as other programs write them, and as none should.

/// An archive in the making.
#[derive(Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    pub(crate) fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(name, b'0', "", content)
    }

    pub(crate) fn directory(self, name: &str) -> Self {
        self.entry(name, b'5', "", b"")
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.entry(name, b'1', target, b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(name, b'2', target, b"")
    }

    pub(crate) fn entry(self, name: &str, kind: u8, target: &str, content: &[u8]) -> Self {
        self.entry_with(name, kind, target, content, |_| ())
    }

    /// Names that are too long go in GNU's way. `change` may do to the header whatever it wants; its checksum is set afterwards.
    pub(crate) fn entry_with(
        mut self,
        name: &str,
        kind: u8,
        target: &str,
        content: &[u8],
        change: impl FnOnce(&mut tar::Header),
    ) -> Self {
        for (long, text) in [(b'L', name), (b'K', target)] {
            if text.len() > 100 {
                self = self.entry("././@LongLink", long, "", format!("{text}\0").as_bytes());
            }
        }
        let mut header = tar::Header::new_gnu();
        let put = |field: &mut [u8; 100], text: &str| {
            let length = text.len().min(100);
            field[..length].copy_from_slice(&text.as_bytes()[..length]);
        };
        put(&mut header.as_old_mut().name, name);
        put(&mut header.as_old_mut().linkname, target);
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(if kind == b'5' { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// PAX records for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        self.entry("./PaxHeaders.1/entry", b'x', "", &records_of(records))
    }

    /// PAX records for all that follows, as `git archive` begins with.
    pub(crate) fn global(self, records: &[(&str, &str)]) -> Self {
        self.entry("pax_global_header", b'g', "", &records_of(records))
    }

    pub(crate) fn unfinished(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn records_of(records: &[(&str, &str)]) -> Vec<u8> {
    let record = |(key, value): &(&str, &str)| {
        let rest = key.len() + value.len() + 3;
        let length = (rest + 1..).find(|length| rest + length.to_string().len() == *length).unwrap();
        format!("{length} {key}={value}\n")
    };
    records.iter().map(record).collect::<String>().into_bytes()
}
