//! Users and groups as an image's own files define them. Pure: works on the text of the files.

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
    /// Further groups, without `gid`.
    pub groups: Vec<u32>,
    pub home: Option<String>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    #[error("unable to find user {name}: no matching entries in passwd file{}", there_are(.known))]
    User { name: String, known: Vec<String> },
    #[error("unable to find group {name}: no matching entries in group file{}", there_are(.known))]
    Group { name: String, known: Vec<String> },
    #[error("{id} is no valid user or group id: they go up to {MAX_ID}")]
    Range { id: u32 },
    #[error("cannot become {kind} {id}: this user namespace has {kind}s 0 to {last} only")]
    Missing { kind: &'static str, id: u32, last: u32 },
}

impl UserError {
    /// What would help.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { kind, id, .. } => {
                let file = if *kind == "user" { "/etc/subuid" } else { "/etc/subgid" };
                Some(format!(
                    "have an administrator lend {id} ids in {file} (and as many in the other of /etc/subuid and /etc/subgid), or take --isolation single, which has every id"
                ))
            }
            Self::User { .. } | Self::Group { .. } | Self::Range { .. } => None,
        }
    }
}

/// As many of an image's names as say something about it.
const SHOWN: usize = 8;

fn there_are(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!(" (the image has {})", known.join(", ")) }
}

fn shown<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names.take(SHOWN).map(str::to_owned).collect()
}

/// Looks up `user`, `uid`, `user:group` and so on.
///
/// A number need not be known; then its group is 0. With `:group` there are no further groups.
pub fn find_account(user: &str, passwd: &str, group: &str) -> Result<Account, UserError> {
    let (name, group_name) = match user.split_once(':') {
        Some((name, group_name)) => (name, Some(group_name).filter(|name| !name.is_empty())),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number = name.parse::<u32>().ok();
    let entry = passwd_entries(passwd).find(|entry| match number {
        Some(uid) => entry.uid == uid || entry.name == name,
        None => entry.name == name,
    });
    let (uid, primary) = match (&entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid),
        (None, Some(uid)) => (uid, 0),
        // Root is root even where there is no passwd file.
        (None, None) if name == "root" => (0, 0),
        (None, None) => {
            let known = shown(passwd_entries(passwd).map(|entry| entry.name));
            return Err(UserError::User { name: name.to_owned(), known });
        }
    };
    check_range(uid)?;
    let home = entry.as_ref().map(|entry| entry.home.to_owned()).filter(|home| !home.is_empty());
    let (gid, groups) = match group_name {
        Some(group_name) => (find_group(group_name, group)?, Vec::new()),
        None => {
            let member = entry.as_ref().map(|entry| entry.name);
            let listed =
                group_entries(group).filter(|entry| member.is_some_and(|name| entry.has_member(name)));
            let mut groups: Vec<u32> = listed.map(|entry| entry.gid).filter(|gid| *gid != primary).collect();
            groups.sort_unstable();
            groups.dedup();
            (primary, groups)
        }
    };
    check_range(gid)?;
    Ok(Account { uid, gid, groups, home })
}

/// The largest id that is not taken for "none" or "leave as it is" somewhere.
const MAX_ID: u32 = i32::MAX.cast_unsigned();

fn check_range(id: u32) -> Result<(), UserError> {
    if id <= MAX_ID { Ok(()) } else { Err(UserError::Range { id }) }
}

fn find_group(name: &str, text: &str) -> Result<u32, UserError> {
    if let Some(entry) = group_entries(text).find(|entry| entry.name == name) {
        return Ok(entry.gid);
    }
    match name {
        "root" => Ok(0),
        _ => name.parse().map_err(|_| {
            let known = shown(group_entries(text).map(|entry| entry.name));
            UserError::Group { name: name.to_owned(), known }
        }),
    }
}

impl Account {
    /// Whether a namespace has all ids that it takes to become this one, up to its last user and group.
    pub(super) fn check_is_there(&self, last_user: u32, last_group: u32) -> Result<(), UserError> {
        let groups = std::iter::once(&self.gid).chain(&self.groups);
        match groups.copied().find(|gid| *gid > last_group) {
            _ if self.uid > last_user => {
                Err(UserError::Missing { kind: "user", id: self.uid, last: last_user })
            }
            Some(id) => Err(UserError::Missing { kind: "group", id, last: last_group }),
            None => Ok(()),
        }
    }
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn passwd_entries(text: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        Some(PasswdEntry {
            name: fields.first()?,
            uid: fields.get(2)?.parse().ok()?,
            gid: fields.get(3)?.parse().ok()?,
            home: fields.get(5).unwrap_or(&""),
        })
    })
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl GroupEntry<'_> {
    fn has_member(&self, name: &str) -> bool {
        self.members.split(',').any(|member| member.trim() == name)
    }
}

fn group_entries(text: &str) -> impl Iterator<Item = GroupEntry<'_>> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        Some(GroupEntry {
            name: fields.first()?,
            gid: fields.get(2)?.parse().ok()?,
            members: fields.get(3).unwrap_or(&""),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:app,other\nwheel:x:10:root\napp:x:1001:app\n";

    #[track_caller]
    fn check(user: &str, uid: u32, gid: u32, groups: &[u32], home: Option<&str>) {
        let account = find_account(user, PASSWD, GROUP).unwrap();
        let expected = Account { uid, gid, groups: groups.to_vec(), home: home.map(str::to_owned) };
        assert_eq!(account, expected, "{user}");
    }

    #[test]
    fn forms_of_user() {
        check("", 0, 0, &[10], Some("/root"));
        check("root", 0, 0, &[10], Some("/root"));
        check("app", 1000, 1001, &[50], Some("/home/app"));
        check("1000", 1000, 1001, &[50], Some("/home/app"));
        check("4711", 4711, 0, &[], None);
        check("app:staff", 1000, 50, &[], Some("/home/app"));
        check("app:77", 1000, 77, &[], Some("/home/app"));
        check("4711:staff", 4711, 50, &[], None);
    }

    #[test]
    fn what_a_namespace_lacks_is_named() {
        let account = Account { uid: 1000, gid: 50, groups: vec![7, 900], home: None };
        let missing = |user, group| account.check_is_there(user, group).unwrap_err().to_string();
        assert_eq!(account.check_is_there(1000, 900), Ok(()));
        assert!(
            missing(999, 900).starts_with("cannot become user 1000: this user namespace has users 0 to 999")
        );
        assert!(missing(1000, 899).starts_with("cannot become group 900: "));
        let account = Account { gid: 901, ..account };
        assert!(account.check_is_there(1000, 900).is_err());
    }

    #[test]
    fn unknown_names_are_errors() {
        assert!(matches!(find_account("eve", PASSWD, GROUP), Err(UserError::User { .. })));
        assert!(matches!(find_account("app:eve", PASSWD, GROUP), Err(UserError::Group { .. })));
        assert!(matches!(find_account("app", "", ""), Err(UserError::User { .. })));
        assert_eq!(find_account("root", "", "").unwrap().uid, 0);
        assert!(matches!(find_account("4294967295", "", ""), Err(UserError::Range { .. })));
        assert!(matches!(find_account("1:4294967295", "", ""), Err(UserError::Range { .. })));
    }
}
