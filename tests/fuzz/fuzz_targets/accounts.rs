#![no_main]
//! Any /etc/passwd, /etc/group and user, three texts between NULs.

use libfuzzer_sys::fuzz_target;
use rocker::namespace::accounts;

fuzz_target!(|text: &str| {
    let mut parts = text.splitn(3, '\0');
    let mut next = || parts.next().unwrap_or_default();
    let (user, passwd, group) = (next(), next(), next());
    if let Ok(account) = accounts::resolve(passwd, group, user) {
        assert!(account.groups.contains(&account.gid));
    }
});
