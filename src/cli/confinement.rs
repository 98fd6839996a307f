//! `run --privileged`, `--cap-add`, `--cap-drop` and `--security-opt`, as in docker.

use std::str::FromStr;

use crate::sandbox::{Capabilities, Confinement};

/// A value of `--security-opt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SecurityOption {
    /// `seccomp=unconfined`, or `builtin`, the default
    RefusesCalls(bool),
    /// `systempaths=unconfined`
    OpenKernelFiles,
    /// `no-new-privileges`, or `no-new-privileges=true` and `false`
    NoNewPrivileges(bool),
    /// `apparmor=unconfined` and `label=disable`: nothing else is ever done here.
    NoLabel,
}

impl FromStr for SecurityOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Docker's older form has a colon.
        let (name, value) = text.split_once(['=', ':']).unwrap_or((text, ""));
        match (name, value) {
            ("seccomp", "unconfined") => Ok(Self::RefusesCalls(false)),
            ("seccomp", "builtin") => Ok(Self::RefusesCalls(true)),
            ("systempaths", "unconfined") => Ok(Self::OpenKernelFiles),
            ("no-new-privileges", "" | "true") => Ok(Self::NoNewPrivileges(true)),
            ("no-new-privileges", "false") => Ok(Self::NoNewPrivileges(false)),
            ("apparmor", "unconfined") | ("label", "disable") => Ok(Self::NoLabel),
            ("seccomp", _) => {
                Err("profiles from files are not supported: it is unconfined or builtin".to_owned())
            }
            ("apparmor" | "label", _) => Err(format!("{name} labels are not supported: none is ever set")),
            _ => Err("only seccomp=unconfined, systempaths=unconfined and no-new-privileges are supported"
                .to_owned()),
        }
    }
}

pub(super) fn of(
    privileged: bool,
    add: &[String],
    drop: &[String],
    options: &[SecurityOption],
) -> Result<Confinement, String> {
    let mut confinement = if privileged { Confinement::NONE } else { Confinement::USUAL };
    let all = privileged.then(|| "ALL".to_owned());
    let add: Vec<String> = add.iter().cloned().chain(all).collect();
    let capabilities = Capabilities::adjusted(&add, drop);
    confinement.capabilities = capabilities.map_err(|error| format!("{error}; see capabilities(7)"))?;
    for option in options {
        match option {
            SecurityOption::RefusesCalls(refuses) => confinement.refuses_calls = *refuses,
            SecurityOption::OpenKernelFiles => confinement.covers_kernel_files = false,
            SecurityOption::NoNewPrivileges(none) => confinement.no_new_privileges = *none,
            SecurityOption::NoLabel => {}
        }
    }
    Ok(confinement)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_dockers() {
        let of = |privileged, options: &[&str]| {
            let options: Vec<SecurityOption> = options.iter().map(|text| text.parse().unwrap()).collect();
            of(privileged, &[], &[], &options).unwrap()
        };
        let usual = Confinement::USUAL;
        assert_eq!(of(false, &[]), usual);
        assert_eq!(of(false, &["apparmor=unconfined", "label=disable", "seccomp=builtin"]), usual);
        assert_eq!(of(false, &["seccomp=unconfined"]), Confinement { refuses_calls: false, ..usual });
        assert_eq!(of(false, &["seccomp:unconfined"]), Confinement { refuses_calls: false, ..usual });
        assert_eq!(
            of(false, &["systempaths=unconfined"]),
            Confinement { covers_kernel_files: false, ..usual }
        );
        assert_eq!(of(false, &["no-new-privileges"]), Confinement { no_new_privileges: true, ..usual });
        assert_eq!(of(true, &[]), Confinement::NONE);
        for refused in
            ["seccomp=profile.json", "apparmor=mine", "label=type:t", "anything", "no-new-privileges=1"]
        {
            assert!(refused.parse::<SecurityOption>().is_err(), "{refused}");
        }
    }

    #[test]
    fn what_is_dropped_is_dropped_from_a_privileged_container_too() {
        let drop = ["SYS_TIME".to_owned()];
        let privileged = of(true, &[], &drop, &[]).unwrap();
        let capabilities = Capabilities::adjusted(&["ALL".to_owned()], &drop).unwrap();
        assert_eq!(privileged, Confinement { capabilities, ..Confinement::NONE });
    }

    #[test]
    fn a_capability_that_does_not_exist_is_refused() {
        let error = of(false, &["NET_EVERYTHING".to_owned()], &[], &[]).unwrap_err();
        assert!(error.contains("NET_EVERYTHING"), "{error}");
    }
}
