//! Which address is whose: a lease is a symbolic link named by the address, and points to a text
//! that begins with the id of its owner. Making a link takes it for exactly one. Where the file system
//! has no links it is a file with that text, which gets its name when it is written.

use super::address::{Address, Subnet};
use crate::error::{Context, Error, Result};
use crate::sys::fs::{self, Dir, Lock};
use crate::sys::{self, Errno};
use std::os::fd::AsFd;

/// So many addresses are tried before the leases are listed.
const TRIES: u128 = 32;
/// The longest text of an owner that is read.
const LIMIT: u64 = 4096;

/// Who wants an address.
pub struct Owner<'a> {
    pub id: &'a str,
    /// What the link points to: the id, and the names of the owner.
    pub text: &'a str,
    /// Decides where the search begins, so that an owner has the same address again.
    pub place: u64,
    /// Whether the owner of this id still has a use for what it leased.
    pub lives: &'a dyn Fn(&str) -> bool,
    /// Takes from an owner that has none whatever still leads to its addresses.
    pub evict: &'a dyn Fn(&str) -> Result<()>,
}

/// The id at the start of a lease's text.
fn id(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

fn read(leases: &Dir, name: &str) -> Option<String> {
    match leases.readlink(name) {
        Err(Errno::EINVAL) => String::from_utf8(leases.read(name, LIMIT).ok()?).ok(),
        text => text.ok()?.into_string().ok(),
    }
}

/// Makes a lease. `EEXIST` where there is one.
fn write(leases: &Dir, name: &str, owner: &Owner<'_>) -> sys::Result<()> {
    match leases.symlink(owner.text, name) {
        Err(Errno::EPERM | Errno::EOPNOTSUPP) => {
            let new = format!("new-{}", owner.id);
            leases.overwrite(&new, owner.text.as_bytes(), 0o600)?;
            leases.rename_new(&new, leases, name).inspect_err(|_| {
                let _ = leases.unlink(&new);
            })
        }
        other => other,
    }
}

/// Takes exactly this address if nobody who lives has it.
fn try_take(leases: &Dir, address: Address, owner: &Owner<'_>) -> Result<bool> {
    let name = address.to_string();
    let what = || format!("lease {name}");
    match write(leases, &name, owner) {
        Err(Errno::EEXIST) => {}
        other => return other.context(what()).map(|()| true),
    }
    let is_free = |holder: &str| holder == owner.id || !(owner.lives)(holder);
    let Some(holder) = holder(leases, &name).filter(|holder| is_free(holder)) else {
        return Ok(false);
    };
    if holder != owner.id {
        (owner.evict)(&holder)?;
    }
    // Only one may replace a lease; looked at again, because another one may just have done so.
    let _turn = lock(leases)?;
    match self::holder(leases, &name) {
        Some(holder) if !is_free(&holder) => return Ok(false),
        Some(_) => leases.unlink(&name).context(what())?,
        None => {}
    }
    match write(leases, &name, owner) {
        Err(Errno::EEXIST) => Ok(false),
        other => other.context(what()).map(|()| true),
    }
}

/// The id of whoever has an address.
fn holder(leases: &Dir, name: &str) -> Option<String> {
    read(leases, name).map(|text| id(&text).to_owned())
}

/// The lock on the leases of a network, until it is dropped.
fn lock(leases: &Dir) -> Result<Dir> {
    let turn = leases.dir(".").context("open the leases")?;
    fs::lock(turn.as_fd(), Lock::Exclusive).context("lock the leases")?;
    Ok(turn)
}

/// Takes an address of the subnet: the wanted one, which is known to be for members, or any that is
/// free.
pub fn take(
    leases: &Dir,
    subnet: Subnet,
    gateway: Address,
    wanted: Option<Address>,
    owner: &Owner<'_>,
) -> Result<Address> {
    let (first, last) = subnet.usable();
    if let Some(address) = wanted {
        return match try_take(leases, address, owner)? {
            true => Ok(address),
            false => Err(Error::new(format!("address {address} is already in use"))),
        };
    }
    let count = last.number - first.number + 1;
    let start = u128::from(owner.place) % count;
    for step in 0..count.min(TRIES) {
        let address = first.plus((start + step) % count);
        if address != gateway && try_take(leases, address, owner)? {
            return Ok(address);
        }
    }
    // Crowded: the holes between those that are taken, then those whose owners have gone.
    let taken = members(leases)?;
    let mut next = first;
    let mut holes = 0;
    for address in taken.iter().map(|(address, _)| *address).chain([last.plus(1)]) {
        while next < address && next <= last && holes < TRIES {
            if next != gateway {
                holes += 1;
                if try_take(leases, next, owner)? {
                    return Ok(next);
                }
            }
            next = next.plus(1);
        }
        next = next.max(address.plus(1));
    }
    for (address, text) in taken.iter().filter(|(address, _)| subnet.contains(*address)) {
        if !(owner.lives)(id(text)) && try_take(leases, *address, owner)? {
            return Ok(*address);
        }
    }
    Err(Error::new(format!("no address is free in {subnet}")))
}

/// Gives an address back, if it is this owner's.
pub fn give_back(leases: &Dir, address: &str, owner: &str) -> Result<()> {
    let _turn = lock(leases)?;
    if read(leases, address).is_some_and(|text| id(&text) == owner) {
        leases.unlink(address).context(format_args!("give back {address}"))?;
    }
    Ok(())
}

/// Gives back all addresses of a network whose owners are meant.
pub fn give_back_all(leases: &Dir, is_meant: &dyn Fn(&str) -> Result<bool>) -> Result<()> {
    for (address, text) in members(leases)? {
        if is_meant(id(&text))? {
            give_back(leases, &address.to_string(), id(&text))?;
        }
    }
    Ok(())
}

/// All leases of a network, by address, with the texts of their owners.
pub fn members(leases: &Dir) -> Result<Vec<(Address, String)>> {
    let mut members = Vec::new();
    for name in leases.names().context("list the leases")? {
        let Some(name) = name.to_str() else { continue };
        if let (Ok(address), Some(text)) = (Address::parse(name), read(leases, name)) {
            members.push((address, text));
        }
    }
    members.sort_unstable();
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(std::path::PathBuf, Dir);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("rocker-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            let dir = Dir::open(&path).unwrap();
            Self(path, dir)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn take_as(place: &Place, subnet: &str, id: &str, dead: &[&str]) -> Result<String> {
        let subnet = Subnet::parse(subnet)?;
        let lives = |id: &str| !dead.contains(&id);
        let text = format!("{id} name");
        let owner = Owner { id, text: &text, place: 0, lives: &lives, evict: &|_| Ok(()) };
        take(&place.1, subnet, subnet.base.plus(1), None, &owner).map(|a| a.to_string())
    }

    #[test]
    fn a_small_subnet_is_used_up_and_says_so() {
        let place = Place::new("full");
        let mut got: Vec<String> =
            (0..5).map(|n| take_as(&place, "10.0.0.0/29", &n.to_string(), &[]).unwrap()).collect();
        got.sort();
        assert_eq!(got, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
        let error = take_as(&place, "10.0.0.0/29", "9", &[]).unwrap_err();
        assert_eq!(error.message, "no address is free in 10.0.0.0/29");
    }

    #[test]
    fn an_address_of_an_owner_that_has_gone_is_taken_again() {
        let place = Place::new("gone");
        assert_eq!(take_as(&place, "10.0.0.0/30", "1", &[]).unwrap(), "10.0.0.2");
        assert!(take_as(&place, "10.0.0.0/30", "2", &[]).is_err());
        assert_eq!(take_as(&place, "10.0.0.0/30", "2", &["1"]).unwrap(), "10.0.0.2");
        give_back(&place.1, "10.0.0.2", "1").unwrap();
        assert!(take_as(&place, "10.0.0.0/30", "3", &[]).is_err(), "it was not 1's any more");
        give_back(&place.1, "10.0.0.2", "2").unwrap();
        assert_eq!(take_as(&place, "10.0.0.0/30", "3", &[]).unwrap(), "10.0.0.2");
    }

    #[test]
    fn a_hole_behind_many_leases_is_found() {
        let place = Place::new("hole");
        for host in 2..=254 {
            if host != 200 {
                place.1.symlink("1 x", format!("10.0.0.{host}")).unwrap();
            }
        }
        assert_eq!(take_as(&place, "10.0.0.0/24", "2", &[]).unwrap(), "10.0.0.200");
        assert!(take_as(&place, "10.0.0.0/24", "3", &[]).is_err());
        assert!(take_as(&place, "10.0.0.0/24", "3", &["1"]).is_ok());
    }

    #[test]
    fn a_wanted_address_must_be_free() {
        let place = Place::new("wanted");
        let subnet = Subnet::parse("10.0.0.0/24").unwrap();
        let wanted = |text, id| {
            let owner = Owner { id, text: id, place: 0, lives: &|_| true, evict: &|_| Ok(()) };
            let address = Some(Address::parse(text).unwrap());
            take(&place.1, subnet, subnet.base.plus(1), address, &owner).map(|a| a.to_string())
        };
        assert_eq!(wanted("10.0.0.9", "1").unwrap(), "10.0.0.9");
        assert_eq!(wanted("10.0.0.9", "1").unwrap(), "10.0.0.9");
        assert_eq!(
            wanted("10.0.0.9", "2").unwrap_err().message,
            "address 10.0.0.9 is already in use"
        );
    }
}
