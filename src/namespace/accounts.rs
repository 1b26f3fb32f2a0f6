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

/// The highest id, docker's. The one of all ones would mean to the kernel that nothing is changed:
/// a program that was to have it would stay root.
const HIGHEST: u32 = i32::MAX as u32;

fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id <= HIGHEST)
}

/// The id in a text that names nobody; an error where it is a number and none.
fn number(kind: &str, text: &str) -> Result<Option<u32>> {
    match id(text) {
        None if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(Error::new(format!("{kind} {text}: ids go from 0 to {HIGHEST}")))
        }
        id => Ok(id),
    }
}

/// Finds who `user` is: `NAME|UID[:GROUP|GID]`, empty for root, in the files below `root`.
pub fn find(root: &Dir, user: &str) -> Result<Account> {
    // Who is named by numbers needs neither file.
    let is_named = user.bytes().any(|byte| !(byte.is_ascii_digit() || byte == b':'));
    let read = |path| match read(root, path) {
        Err(_) if !is_named => Ok(String::new()),
        other => other,
    };
    let (passwd, group) = (read("etc/passwd")?, read("etc/group")?);
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
        Some(User { name, uid: id(uid)?, gid: id(gid)?, home })
    })
}

/// Name, number and members.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some((name, id(gid)?, fields.next().unwrap_or_default()))
    })
}

/// A name is looked up first; what is not found and is a number is taken as one.
pub fn resolve(passwd: &str, group: &str, user: &str) -> Result<Account> {
    let (name, wanted_group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let by_name = users(passwd).find(|user| user.name == name);
    let wanted_id = if by_name.is_some() { None } else { number("user", name)? };
    let found = by_name.or_else(|| users(passwd).find(|user| Some(user.uid) == wanted_id));
    let (uid, gid, home) = match (&found, wanted_id) {
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
    let gid = match by_name {
        Some(gid) => Some(gid),
        None => number("group", wanted)?,
    };
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
    fn a_file_that_cannot_be_read_is_an_error_for_names_only() {
        let path = std::env::temp_dir().join(format!("rocker-accounts-{}", std::process::id()));
        std::fs::create_dir_all(path.join("etc")).unwrap();
        std::fs::write(path.join("etc/passwd"), vec![b'x'; LIMIT as usize + 1]).unwrap();
        let root = Dir::open(&path).unwrap();
        let found = ["", "0", "5:6", "web", "5:web"].map(|user| {
            find(&root, user).map(|account| (account.uid, account.gid)).map_err(|error| error.errno)
        });
        std::fs::remove_dir_all(&path).unwrap();
        let large = Err(Some(Errno::EFBIG));
        assert_eq!(found, [Ok((0, 0)), Ok((0, 0)), Ok((5, 6)), large, large]);
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
    fn an_id_that_would_change_nothing_is_refused_wherever_it_stands() {
        for user in ["4294967295", "2147483648", "99999999999", "web:4294967295", "33:99999999999"]
        {
            let message = account(user).unwrap_err().to_string();
            assert!(message.ends_with("ids go from 0 to 2147483647"), "{user}: {message}");
        }
        assert_eq!(account("2147483647").map(|account| account.uid), Ok(HIGHEST));
        let passwd = "evil:x:4294967295:0::/:\ngroup:x:1:4294967295::/:\n";
        for user in ["evil", "group"] {
            assert!(resolve(passwd, "evil:x:4294967295:group\n", user).is_err(), "{user}");
        }
        assert!(resolve(passwd, "evil:x:4294967295:group\n", "0:evil").is_err());
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
