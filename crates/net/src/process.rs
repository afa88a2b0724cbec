//! The process itself: in two, so that one half can stay behind in the background; and as another user's.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::zeroed;
use std::ptr::null_mut;

/// Which half of a forked process this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forked {
    /// The one that was there, with the process id of the new one.
    Parent(i32),
    /// The new one.
    Child,
}

/// Makes a second process that goes on from here as this one does.
///
/// # Errors
/// The process has threads already: of those a second one would have only the caller, and what the others had locked
/// would stay locked. Or the system allows no more processes.
pub fn fork() -> io::Result<Forked> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("the process has more than one thread, so it cannot be forked"));
    }
    // SAFETY: this is the only thread, so no lock is held by one that the child lacks; it may do what any process may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        child => Ok(Forked::Parent(child)),
    }
}

/// A user and groups that a process can become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    user: Option<u32>,
    group: u32,
    /// All groups, where they are known: those of the user, else the one alone.
    groups: Vec<u32>,
}

impl Identity {
    /// Looks up a user, a group or both: by name, or by number where there is no such name. A user without a group
    /// brings his own; his other groups he keeps in any case.
    ///
    /// # Errors
    /// There is no such user or group, or it cannot be looked up.
    pub fn find(user: Option<&str>, group: Option<&str>) -> io::Result<Option<Self>> {
        let gid = group.map(|name| find_group(name)?.ok_or_else(|| unknown("group", name))).transpose()?;
        let Some(name) = user else {
            return Ok(gid.map(|group| Identity { user: None, group, groups: vec![group] }));
        };
        let (uid, own_group) = find_user(name)?.ok_or_else(|| unknown("user", name))?;
        let group = gid.or(own_group).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("user {name} is not known here, so it needs a group"),
            )
        })?;
        let groups = match own_group {
            Some(_) => groups_of(name, group)?,
            None => vec![group],
        };
        Ok(Some(Identity { user: Some(uid), group, groups }))
    }

    /// Its user's number, if it names a user.
    pub fn user(&self) -> Option<u32> {
        self.user
    }

    /// Its group's number.
    pub fn group(&self) -> u32 {
        self.group
    }

    /// Whether the process is this user and group already.
    pub fn is_assumed(&self) -> bool {
        // SAFETY: these calls take nothing and cannot fail.
        let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
        self.user.is_none_or(|own| own == user) && self.group == group
    }

    /// Becomes it, with every thread, for good. Groups first, as long as there is the right to.
    ///
    /// # Errors
    /// The process has not the right to become somebody else; it may then be some of both, and must not go on.
    pub fn assume(&self) -> io::Result<()> {
        let Identity { user, group, groups } = self;
        // SAFETY: the pointer and the length are those of a slice that lives on; the other calls take numbers. The C
        // library changes all threads of the process, not the calling one alone.
        unsafe {
            checked(libc::setgroups(groups.len(), groups.as_ptr()))?;
            checked(libc::setresgid(*group, *group, *group))?;
            if let Some(user) = *user {
                checked(libc::setresuid(user, user, user))?;
            }
        }
        Ok(())
    }
}

fn unknown(what: &str, name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no {what} {name}"))
}

fn checked(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A user's number, and his group where he is known by name.
fn find_user(name: &str) -> io::Result<Option<(u32, Option<u32>)>> {
    let c_name = CString::new(name)?;
    let found = look_up(|buffer| {
        // SAFETY: an all-zero passwd is valid: numbers and null pointers.
        let mut entry: libc::passwd = unsafe { zeroed() };
        let mut found = null_mut();
        // SAFETY: the name ends with a zero byte; entry and answer are valid places; the buffer is passed with its
        // length. Nothing of the entry that points into the buffer is used after it.
        let code = unsafe {
            libc::getpwnam_r(
                c_name.as_ptr(),
                &mut entry,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &mut found,
            )
        };
        (code, (!found.is_null()).then_some((entry.pw_uid, Some(entry.pw_gid))))
    })?;
    Ok(found.or_else(|| Some((name.parse().ok()?, None))))
}

fn find_group(name: &str) -> io::Result<Option<u32>> {
    let c_name = CString::new(name)?;
    let found = look_up(|buffer| {
        // SAFETY: an all-zero group is valid: numbers and null pointers.
        let mut entry: libc::group = unsafe { zeroed() };
        let mut found = null_mut();
        // SAFETY: as for users.
        let code = unsafe {
            libc::getgrnam_r(
                c_name.as_ptr(),
                &mut entry,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &mut found,
            )
        };
        (code, (!found.is_null()).then_some(entry.gr_gid))
    })?;
    Ok(found.or_else(|| name.parse().ok()))
}

/// Calls with larger and larger buffers until one suffices.
fn look_up<T>(mut ask: impl FnMut(&mut [u8]) -> (i32, Option<T>)) -> io::Result<Option<T>> {
    let mut buffer = vec![0; 4096];
    loop {
        match ask(&mut buffer) {
            (0, found) => return Ok(found),
            (libc::ERANGE, _) if buffer.len() < LARGEST_ENTRY => buffer.resize(buffer.len() * 4, 0),
            // What some systems say instead of "not found".
            (libc::ENOENT | libc::ESRCH, _) => return Ok(None),
            (code, _) => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// All groups of a user, `group` among them.
fn groups_of(name: &str, group: u32) -> io::Result<Vec<u32>> {
    let name: &CStr = &CString::new(name)?;
    let mut groups = vec![0; MOST_GROUPS];
    let mut count = MOST_GROUPS as i32;
    // SAFETY: the name ends with a zero byte, and the array is passed with the number of its places.
    let result = unsafe { libc::getgrouplist(name.as_ptr(), group, groups.as_mut_ptr(), &mut count) };
    if result < 0 {
        return Err(io::Error::other(format!("the user is in more than {MOST_GROUPS} groups")));
    }
    groups.truncate(count as usize);
    Ok(groups)
}

/// Bytes of the largest entry that is read: a group lists its members.
const LARGEST_ENTRY: usize = 1 << 20;
const MOST_GROUPS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_found_by_name_and_by_number() {
        let root = Identity::find(Some("root"), None).unwrap().unwrap();
        assert_eq!((root.user(), root.group()), (Some(0), 0));
        assert!(root.groups.contains(&0));
        let mixed = Identity::find(Some("root"), Some("12345")).unwrap().unwrap();
        assert_eq!((mixed.user(), mixed.group()), (Some(0), 12345));
        assert!(mixed.groups.contains(&12345), "{mixed:?}");
        let group = Identity::find(None, Some("root")).unwrap().unwrap();
        assert_eq!((group.user(), group.group(), group.groups), (None, 0, vec![0]));
        assert_eq!(Identity::find(None, None).unwrap(), None);
    }

    #[test]
    fn nobody_of_that_name_is_an_error_that_names_it() {
        let error = Identity::find(Some("no-such-user"), None).unwrap_err();
        assert_eq!(error.to_string(), "there is no user no-such-user");
        let error = Identity::find(Some("root"), Some("no-such-group")).unwrap_err();
        assert_eq!(error.to_string(), "there is no group no-such-group");
        // A number alone does not say which group.
        let error = Identity::find(Some("4000000"), None).unwrap_err();
        assert_eq!(error.to_string(), "user 4000000 is not known here, so it needs a group");
        assert!(Identity::find(Some("a\0b"), None).is_err());
    }

    #[test]
    fn a_process_with_threads_is_not_forked() {
        // The test runner has some.
        let error = fork().unwrap_err();
        assert!(error.to_string().contains("more than one thread"), "{error}");
    }
}
