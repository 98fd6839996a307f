//! Servers that say of a repository what is not so.

use crate::support::{Repository, git_world};

#[test]
fn a_tag_leads_where_it_leads_whatever_a_server_says() {
    let (env, server, honest) = git_world();
    let trusted = honest.git(&["rev-parse", "HEAD"]);
    let evil = Repository::new(&env, "evil.git");
    let other = evil.write("file", "evil\n").commit("evil");
    evil.git(&["tag", "-a", "-m", "x", "v1"]);
    for old in [false, true] {
        if old {
            server.is_old();
            server.lies(&format!("{other} refs/tags/v1^{{}}"), &format!("{trusted} refs/tags/v1^{{}}"));
        } else {
            server.lies(&format!("peeled:{other}"), &format!("peeled:{trusted}"));
        }
        for keep in ["", "--keep-git-dir "] {
            for pin in [String::new(), format!("--checksum={trusted} ")] {
                let address = server.url("evil.git#v1");
                env.dockerfile(&format!("FROM scratch\nADD {keep}{pin}{address} /\n"));
                let says = [trusted.as_str(), "but it leads to", &other];
                env.rbuild(&["."]).run().code(5).says(&says);
            }
        }
    }
    // Nothing is kept as what it is not.
    env.dockerfile(&format!("FROM scratch\nADD {} /\n", server.url(&format!("x.git#{trusted}"))));
    env.rbuild(&["-t", "app", "."]).run().success();
    assert_eq!(env.image("app").text("file"), "text\n");
    env.has_no_leftovers();
}

#[test]
fn a_repositorys_own_choice_is_the_name_of_a_ref_or_none() {
    let (env, server, repository) = git_world();
    for name in ["refs/heads/a:bc", "--stdin12345678", "../../../config", "HEADHEADHEADHEA"] {
        repository.commit(name);
        repository.git(&["symbolic-ref", "HEAD", "refs/heads/main"]);
        server.lies("symref-target:refs/heads/main", &format!("symref-target:{name:.<15.15}"));
        env.dockerfile(&format!("FROM scratch\nADD --keep-git-dir {} /\n", server.url("x.git")));
        env.rbuild(&["-t", "app", "."]).run().success();
        let image = env.image("app");
        assert_eq!(image.text("file"), "text\n", "{name}");
        assert!(!image.files().keys().any(|path| path.starts_with(".git/refs/heads/")), "{name}");
        assert!(image.text(".git/config").contains("[core]"), "{name}");
    }
    env.has_no_leftovers();
}
