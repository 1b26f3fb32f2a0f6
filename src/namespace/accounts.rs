//! Users and groups of a container, read from its own /etc/passwd and /etc/group.

use crate::error::{Context, Error, Result};
use crate::sys::Errno;
use crate::sys::fs::Dir;

/// Who a program runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, the first one included.
    pub groups: Vec<u32>,
    pub home: String,
}

/// The most that is read of either file.
const LIMIT: u64 = 4 << 20;

/// Finds who `user` is: `NAME|UID[:GROUP|GID]`, empty for root, in the files below `root`.
pub fn find(root: &Dir, user: &str) -> Result<Account> {
    let (passwd, group) = (read(root, "etc/passwd")?, read(root, "etc/group")?);
    resolve(&passwd, &group, user)
}

fn read(root: &Dir, path: &str) -> Result<String> {
    let file = match root.open_in_root(path, libc::O_RDONLY | libc::O_NONBLOCK, 0) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(String::new()),
        other => other.context(format_args!("open /{path}"))?,
    };
    let bytes = crate::sys::fs::read_file(file, LIMIT).context(format_args!("read /{path}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let home = fields.nth(1).unwrap_or_default();
        Some(User { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
    })
}

/// Name, number and members.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some((name, gid.parse().ok()?, fields.next().unwrap_or_default()))
    })
}

/// A name is looked up first; what is not found and is a number is taken as one.
pub fn resolve(passwd: &str, group: &str, user: &str) -> Result<Account> {
    let (name, wanted_group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number = name.parse::<u32>().ok();
    let by_name = users(passwd).find(|user| user.name == name);
    let found = by_name.or_else(|| users(passwd).find(|user| Some(user.uid) == number));
    let (uid, gid, home) = match (&found, number) {
        (Some(user), _) => (user.uid, user.gid, user.home),
        (None, Some(uid)) => (uid, 0, ""),
        (None, None) => {
            return Err(Error::new(format!("no user {name:?} in the image's /etc/passwd")));
        }
    };
    let home = if home.is_empty() { "/" } else { home }.to_owned();
    let Some(wanted) = wanted_group.filter(|wanted| !wanted.is_empty()) else {
        let mut list = vec![gid];
        if let Some(user) = &found {
            let names_user = |members: &str| members.split(',').any(|name| name == user.name);
            let more =
                groups(group).filter(|(_, other, members)| *other != gid && names_user(members));
            list.extend(more.map(|(_, gid, _)| gid));
        }
        return Ok(Account { uid, gid, groups: list, home });
    };
    let by_name = groups(group).find(|(name, ..)| *name == wanted).map(|(_, gid, _)| gid);
    let gid = by_name.or_else(|| wanted.parse().ok());
    let gid =
        gid.ok_or_else(|| Error::new(format!("no group {wanted:?} in the image's /etc/group")))?;
    Ok(Account { uid, gid, groups: vec![gid], home })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:33::/var/www:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nweb:x:33:\naudio:x:29:web,other\nvideo:x:44:other\n";

    fn account(user: &str) -> Result<Account> {
        resolve(PASSWD, GROUP, user)
    }

    #[test]
    fn nobody_named_is_root_with_the_home_of_root() {
        let root = Account { uid: 0, gid: 0, groups: vec![0], home: "/root".to_owned() };
        assert_eq!(account(""), Ok(root.clone()));
        assert_eq!(account("root"), Ok(root));
    }

    #[test]
    fn a_user_gets_the_groups_that_name_it() {
        let web = account("web").unwrap();
        assert_eq!((web.uid, web.gid, web.groups), (33, 33, vec![33, 29]));
        assert_eq!(account("33").unwrap().home, "/var/www");
    }

    #[test]
    fn a_number_that_is_in_no_file_is_taken_as_it_is() {
        let account = account("1000:2000").unwrap();
        assert_eq!((account.uid, account.gid, account.groups), (1000, 2000, vec![2000]));
        assert_eq!(account.home, "/");
    }

    #[test]
    fn a_name_that_is_in_no_file_is_an_error_that_names_it() {
        assert_eq!(
            account("ghost").unwrap_err().message,
            "no user \"ghost\" in the image's /etc/passwd"
        );
        assert_eq!(
            account("0:ghost").unwrap_err().message,
            "no group \"ghost\" in the image's /etc/group"
        );
    }
}
